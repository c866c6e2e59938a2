// Prints recommendations of a served model. Needs @grpc/grpc-js and @grpc/proto-loader.
//
// Usage: node recommend.js ADDRESS MODEL USER [ITEM ...]
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const PROTO = fileURLToPath(new URL('../predict.proto', import.meta.url));
const TIMEOUT = 5000; // milliseconds

const definition = protoLoader.loadSync(PROTO, { keepCase: true, longs: Number, defaults: true });
const { PredictionService } = grpc.loadPackageDefinition(definition).tensorflow.serving;

/** Item ids and scores for a user, best first. `history` holds the ids of the user's items, oldest first. */
async function recommend(client, model, user, history) {
  // Further inputs, such as `query_text`, can be added here: for one user, a list of one value or of one an event.
  const values = { user_id: [user], history_item_id: history };
  const inputs = {};
  // A request should hold every input of the signature. Those without a value are filled with zeros or "".
  for (const [name, info] of Object.entries(await signatureInputs(client, model))) {
    const sizes = shape(name, info.tensor_shape.dim.length, history.length);
    inputs[name] = {
      dtype: info.dtype,
      tensor_shape: { dim: sizes.map((size) => ({ size })) },
      string_val: (values[name] ?? []).map((value) => Buffer.from(value, 'utf8')),
    };
  }
  const request = { model_spec: { name: model, signature_name: 'recommend' }, inputs };
  const { outputs } = await call(client, 'Predict', request);
  const scores = outputs.score.float_val;
  return outputs.item_id.string_val
    .map((id, position) => ({ itemId: id.toString('utf8'), score: scores[position] }))
    .filter(({ itemId }) => itemId); // the list is padded with "" if fewer items are allowed than the model returns
}

/** Name -> type and shape of the inputs of `recommend`. They can change only with the version of the model. */
async function signatureInputs(client, model) {
  const request = { model_spec: { name: model }, metadata_field: ['signature_def'] };
  const { metadata } = await call(client, 'GetModelMetadata', request);
  return metadata.signature_def.value.signature_def.recommend.inputs;
}

/** The shape of an input for one user: one value, or a list. Lists `history_*` have a value for each event. */
function shape(name, rank, events) {
  return [1, ...Array(rank - 1).fill(name.startsWith('history_') ? events : 0)];
}

/** Calls a method of the service; rejects with the server's code and message. */
function call(client, method, request) {
  return promisify(client[method].bind(client))(request, { deadline: Date.now() + TIMEOUT });
}

const [address, model, user, ...history] = process.argv.slice(2);
const client = new PredictionService(address, grpc.credentials.createInsecure());
try {
  for (const { itemId, score } of await recommend(client, model, user, history)) {
    console.log(`${itemId}\t${score.toFixed(6)}`);
  }
} finally {
  client.close();
}
