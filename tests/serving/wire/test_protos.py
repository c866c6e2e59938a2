"""The private messages have the bytes of the originals."""

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from serving.wire.protos import wire_pb2


def originals() -> dict[str, Descriptor | EnumDescriptor]:
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
        predict_pb2,
        status_pb2,
    )

    modules = [
        *(tensor_pb2, tensor_shape_pb2, types_pb2, meta_graph_pb2),
        *(get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2, status_pb2),
    ]
    descriptors: dict[str, Descriptor | EnumDescriptor] = {}
    for module in modules:
        descriptors.update(module.DESCRIPTOR.message_types_by_name)
        descriptors.update(module.DESCRIPTOR.enum_types_by_name)
    return descriptors


def same_field(ours: FieldDescriptor, theirs: FieldDescriptor) -> None:
    # An enum and an int32 are both varints.
    varints = (FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_INT32)
    assert ours.type == theirs.type or (ours.type in varints and theirs.type in varints)
    assert (ours.number, ours.label) == (theirs.number, theirs.label)
    if ours.message_type is not None:
        assert ours.message_type.name == theirs.message_type.name
        if ours.message_type.GetOptions().map_entry:
            same_message(ours.message_type, theirs.message_type)
    elif ours.label == FieldDescriptor.LABEL_REPEATED and ours.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        assert ours.GetOptions().packed == theirs.GetOptions().packed


def same_message(ours: Descriptor, theirs: Descriptor) -> None:
    assert ours.fields
    for field in ours.fields:
        same_field(field, theirs.fields_by_name[field.name])
    for nested in ours.nested_types:
        same_message(nested, theirs.nested_types_by_name[nested.name])
    for enum in ours.enum_types:
        same_enum(enum, theirs.enum_types_by_name[enum.name])


def same_enum(ours: EnumDescriptor, theirs: EnumDescriptor) -> None:
    for value in ours.values:
        assert theirs.values_by_name[value.name].number == value.number


@pytest.mark.parametrize("name", sorted(wire_pb2.DESCRIPTOR.message_types_by_name))
def test_message_has_the_fields_of_the_original(name: str) -> None:
    same_message(wire_pb2.DESCRIPTOR.message_types_by_name[name], originals()[name])


def test_data_types_have_the_numbers_of_the_originals() -> None:
    same_enum(wire_pb2.DESCRIPTOR.enum_types_by_name["DataType"], originals()["DataType"])
