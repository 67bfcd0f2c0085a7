"""Writes a pipeline like community-1 for `Pipeline.from_pretrained`: real code with random weights.

What it answers means nothing; that it answers in the shape we read, offline, is what the tests are about.
"""

from __future__ import annotations

from pathlib import Path

SEED = 7
EMBEDDING_SIZE = 32
PLDA_SIZE = 16

CONFIG = """\
dependencies:
  pyannote.audio: 4.0.0
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: VBxClustering
    segmentation: $model/segmentation
    segmentation_batch_size: 8
    embedding: $model/embedding
    embedding_batch_size: 8
    embedding_exclude_overlap: true
    plda: $model/plda
params:
  clustering:
    threshold: 0.6
    Fa: 0.07
    Fb: 0.8
  segmentation:
    min_duration_off: 0.0
"""


def make(folder: Path) -> Path:
    """Write config.yaml, segmentation/, embedding/ and plda/ into the folder and return it."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorMFCC
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(SEED)
    segmentation = PyanNet(
        lstm={"hidden_size": 8, "num_layers": 1, "monolithic": True},
        linear={"hidden_size": 8, "num_layers": 1},
    )
    segmentation.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=10.0,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    segmentation.build()
    with torch.no_grad():  # random weights hardly react to the audio: scale them up
        segmentation.classifier.weight.mul_(60)
        segmentation.classifier.bias.zero_()
    _save(segmentation, folder / "segmentation")

    embedding = XVectorMFCC(dimension=EMBEDDING_SIZE)
    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0, classes=["a", "b"]
    )
    embedding.build()
    _save(embedding, folder / "embedding")

    _save_plda(folder / "plda")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def _save(model, folder: Path) -> None:
    """Write a checkpoint in the form in which Lightning saves pyannote's models."""
    import lightning
    import torch

    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
    }
    model.on_save_checkpoint(checkpoint)
    folder.mkdir(parents=True)
    torch.save(checkpoint, folder / "pytorch_model.bin")


def _save_plda(folder: Path) -> None:
    import numpy as np

    random = np.random.default_rng(SEED)
    folder.mkdir(parents=True)
    np.savez(
        folder / "xvec_transform.npz",
        mean1=random.normal(size=EMBEDDING_SIZE),
        mean2=random.normal(size=PLDA_SIZE),
        lda=random.normal(size=(EMBEDDING_SIZE, PLDA_SIZE)),
    )
    np.savez(
        folder / "plda.npz",
        mu=random.normal(size=PLDA_SIZE),
        tr=random.normal(size=(PLDA_SIZE, PLDA_SIZE)),
        psi=np.sort(random.uniform(0.5, 5.0, size=PLDA_SIZE))[::-1].copy(),
    )
