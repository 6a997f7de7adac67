# /// script
# requires-python = ">=3.11"
# dependencies = ["pandas>=2.2", "pyreadr>=0.5"]
# ///
"""Make the demo's files from the originals: `uv run data/prepare.py ORIGINALS`.

ORIGINALS is the folder `data/` of github.com/bradleyboehmke/completejourney at commit 5b5d061. The files of this
folder are made from it and from nothing else, byte by byte the same each time.

- purchases.csv.gz: `transactions_sample` beside the department and the category of each product, in order of time. The
  originals hold instants, made from the tills' local time; here they are that local time again (America/New_York,
  without an offset).
- coupon_redemptions.csv and demographics.csv: as they are.
"""

import gzip
import io
import sys
from pathlib import Path

import pandas as pd
import pyreadr

ZONE = "America/New_York"
PURCHASE = [
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "coupon_disc",
    "transaction_timestamp",
    "department",
    "product_category",
]


def main(originals: Path, target: Path) -> None:
    """Read the originals and write the three files into `target`."""
    purchases = read(originals, "transactions_sample").merge(
        read(originals, "products"), on="product_id", how="left", validate="many_to_one"
    )
    moments = purchases["transaction_timestamp"].dt.tz_localize("UTC").dt.tz_convert(ZONE)
    local = moments.dt.tz_localize(None)
    lost = (local.dt.tz_localize(ZONE, ambiguous=True) != moments).sum()
    if lost:  # ambiguous=True takes the first of two, as flowops does
        sys.exit(f"{lost} times would be another instant without their offset")
    purchases["transaction_timestamp"] = local.dt.strftime("%Y-%m-%dT%H:%M:%S")
    purchases = purchases[PURCHASE].sort_values("transaction_timestamp", kind="stable")
    write(purchases, target / "purchases.csv.gz")
    write(read(originals, "coupon_redemptions"), target / "coupon_redemptions.csv")
    write(read(originals, "demographics"), target / "demographics.csv")


def read(originals: Path, name: str) -> pd.DataFrame:
    """The one table of an R data file."""
    return pyreadr.read_r(str(originals / f"{name}.rda"))[name]


def write(table: pd.DataFrame, path: Path) -> None:
    """CSV, packed if the suffix says so, without the time of packing."""
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    sys.stdout.write(f"{path}: {len(table):,} rows\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: uv run data/prepare.py ORIGINALS (the folder with transactions_sample.rda)")
    main(Path(sys.argv[1]), Path(__file__).parent)
