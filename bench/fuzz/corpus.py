"""The kept inputs: corpus/TARGET.json is a list of base64 texts, one a line."""

import base64
import json
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def kept(target: str) -> list[bytes]:
    """The inputs of a target that the repository keeps."""
    path = FOLDER / f"{target}.json"
    return (
        [base64.b64decode(text) for text in json.loads(path.read_text())] if path.exists() else []
    )


def keep(target: str, inputs: list[bytes]) -> None:
    """Writes them, one a line."""
    FOLDER.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(base64.b64encode(data).decode()) for data in inputs)
    (FOLDER / f"{target}.json").write_text(f"[\n{lines}\n]\n")
