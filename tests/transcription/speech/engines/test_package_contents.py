from __future__ import annotations

from transcription.speech.engines.package_contents import BASE


def test_package_that_is_pinned_is_whole():
    """The halves meet, and every file that faster-whisper reads is there."""
    (*_, first), (second,) = (package.members for package in BASE.packages)
    assert first.offset + first.bytes == second.offset
    assert second.offset + second.bytes == BASE.bytes
    names = {member.name for package in BASE.packages for member in package.members}
    assert names == {"config.json", "tokenizer.json", "vocabulary.txt", "LICENSE", "model.bin"}
    assert all(len(member.sha256) == 64 for package in BASE.packages for member in package.members)
