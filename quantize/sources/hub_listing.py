"""What a hub says a repository holds, and which of its files a conversion needs. Nothing is believed unchecked."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound
from edge_agent.models.manifest import plain
from edge_agent.models.names import check_relative

INDEX = "model.safetensors.index.json"
CARD = "README.md"
MOST_SMALL_BYTES = 1 << 26
"""Of a file that the hub keeps in git itself, where ten megabytes are the rule: the tokenizer's, at most."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_MOST_SHOWN = 20
_LONGEST_PATH = 200
_MOST_BYTES = 1 << 53
# Never code, and never weights as pickles, which are code.
_BESIDE_WEIGHTS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "chat_template.jinja", "chat_template.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
    INDEX, CARD, "LICENSE*",
)  # fmt: skip
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the repository. `size` in bytes; `sha256` where the hub keeps it as a large file, else `git_sha1`."""

    path: str
    size: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of `repo` at one `commit`, by path. Files whose names are not plain relative paths are left out."""

    repo: str
    commit: str
    files: Mapping[str, HubFile]

    def wanted(self, file: str | None) -> tuple[HubFile, ...]:
        """What to fetch: the GGUF called `file`, or the one there is; of a folder all but the weights; the card.

        The first is a GGUF, or none is. Which `weights` a folder has is said by its index, which is among the files.
        Raises InvalidRequest code "hub_several_files" | "hub_split_gguf" | "hub_no_weights", and NotFound code
        "hub_file_not_found".
        """
        ggufs = [path for path in self.files if path.lower().endswith(".gguf")]
        if file is not None:
            return self._gguf(self._named(file, ggufs))
        if "config.json" in self.files and self._safetensors():
            return self._folder()
        if len(ggufs) == 1:
            return self._gguf(ggufs[0])
        if ggufs:
            raise InvalidRequest(
                f"{self.repo} holds several GGUF files: {self._shown(ggufs)}.",
                code="hub_several_files",
                hint=f"Name one: {self.repo}:{_middle(ggufs)}",
            )
        raise self._no_weights()

    def weights(self, index: Iterable[str] | None) -> tuple[HubFile, ...]:
        """The safetensors to fetch: those that the `index` names, without one `model.safetensors` or all there are.

        Raises Broken code "model_file_missing" where the index names what is none, or is not there.
        """
        if index is None:
            found = self._safetensors()
            own = [path for path in found if path.startswith("model")]
            return tuple(self.files[path] for path in own or found)
        safetensors = self._safetensors()
        for path in index:
            if path not in safetensors:
                raise Broken(
                    f"{self.repo} has no safetensors {plain(path)}, which its {INDEX} names.",
                    code="model_file_missing",
                    hint="Choose another revision: owner/name@REVISION",
                )
        return tuple(self.files[path] for path in index)

    def _folder(self) -> tuple[HubFile, ...]:
        if "tokenizer.json" not in self.files:
            raise InvalidRequest(
                f"{self.repo} has no tokenizer.json.",
                code="hub_no_weights",
                hint="Choose a repository with config.json, *.safetensors and tokenizer.json, or with a .gguf file.",
            )
        return tuple(self.files[path] for path in self.files if _matches(path, _BESIDE_WEIGHTS))

    def _gguf(self, path: str) -> tuple[HubFile, ...]:
        if _SPLIT.search(path):
            raise InvalidRequest(
                f"{path} is one part of a GGUF that was split.",
                code="hub_split_gguf",
                hint="Fetch all parts and join them with llama.cpp's llama-gguf-split --merge, or choose another file.",
            )
        card = [self.files[CARD]] if CARD in self.files else []
        return (self.files[path], *card)

    def _named(self, file: str, ggufs: Sequence[str]) -> str:
        if file in ggufs:
            return file
        if ggufs:
            raise NotFound(
                f"{self.repo} has no GGUF file {plain(file)}.",
                code="hub_file_not_found",
                hint=f"It has {self._shown(ggufs)}.",
            )
        raise NotFound(
            f"{self.repo} has no GGUF files.",
            code="hub_file_not_found",
            hint=f"Name the repository alone: {self.repo}",
        )

    def _safetensors(self) -> list[str]:
        return [path for path in self.files if path.endswith(".safetensors") and "/" not in path]

    def _no_weights(self) -> InvalidRequest:
        pickled = any(_matches(path, _PICKLES) for path in self.files)
        return InvalidRequest(
            f"{self.repo} holds its weights only as pickles, which are programs and are never fetched."
            if pickled
            else f"{self.repo} holds no model that can be converted.",
            code="hub_no_weights",
            hint="Choose a repository with config.json and *.safetensors, or with a .gguf file.",
        )

    def _shown(self, paths: Sequence[str]) -> str:
        named = [f"{path} ({self.files[path].size / 1e6:,.0f} MB)" for path in sorted(paths)]
        more = f" and {len(named) - _MOST_SHOWN} more" if len(named) > _MOST_SHOWN else ""
        return ", ".join(named[:_MOST_SHOWN]) + more


def read(repo: str, description: Mapping[str, Any]) -> Listing:
    """The listing that the hub's answer spells. Raises Broken code "hub_answer_unreadable"."""
    try:
        commit = description["sha"]
        files = [found for entry in description["siblings"] if (found := _file(entry)) is not None]
        if not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
            raise ValueError  # noqa: TRY301  # one place says it
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Broken(
            f"What the hub says of {repo} cannot be understood.",
            code="hub_answer_unreadable",
            hint="Check $HF_ENDPOINT, or name a local file or folder.",
        ) from error
    return Listing(repo, commit, {file.path: file for file in files})


def _file(entry: Mapping[str, Any]) -> HubFile | None:
    try:
        path = check_relative(entry["rfilename"])
    except ValueError:  # a hidden file, or a name that is not for this disk
        return None
    if len(path) > _LONGEST_PATH:
        return None
    large = entry.get("lfs")
    size = large["size"] if large else entry.get("size", MOST_SMALL_BYTES)
    if type(size) is not int or not (1 if large else 0) <= size <= _MOST_BYTES:
        raise ValueError
    if not large:
        digest = entry.get("blobId")
        return HubFile(path, size, None, digest if isinstance(digest, str) and _COMMIT.fullmatch(digest) else None)
    sha256 = large.get("sha256") or str(large["oid"]).removeprefix("sha256:")
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise ValueError
    return HubFile(path, size, sha256, None)


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) and path.count("/") == pattern.count("/") for pattern in patterns)


def _middle(paths: Sequence[str]) -> str:
    """The one a person would most likely take: of four bits, else any."""
    ordered = sorted(paths)
    return next((path for path in ordered if "q4_k_m" in path.lower()), ordered[len(ordered) // 2])
