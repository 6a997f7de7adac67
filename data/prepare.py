"""Make the demo's files: `python data/prepare.py CSV`, where CSV is a folder with the tables of the package as CSV.

- purchases.csv.gz: `transactions_sample` beside the department and the category of each product, in order of time. The
  tables print instants in UTC; here they are the local time of the stores (America/New_York, without an offset).
- coupon_redemptions.csv and demographics.csv: as they are.
"""

import csv
import gzip
import io
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/New_York")
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


def main(tables: Path, target: Path) -> None:
    """Read the tables and write the three files into `target`."""
    products = {row["product_id"]: row for row in read(tables / "products.csv.gz")}
    purchases = []
    for row in read(tables / "transactions_sample.csv.gz"):
        product = products.get(row["product_id"], {})
        row["department"] = product.get("department", "")
        row["product_category"] = product.get("product_category", "")
        row["transaction_timestamp"] = local(row["transaction_timestamp"])
        purchases.append([row[column] for column in PURCHASE])
    purchases.sort(key=lambda values: values[PURCHASE.index("transaction_timestamp")])
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PURCHASE)
    writer.writerows(purchases)
    with (target / "purchases.csv.gz").open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.getvalue().encode())
    for name in ("coupon_redemptions.csv", "demographics.csv"):
        shutil.copyfile(tables / name, target / name)


def read(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a gzipped CSV table."""
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


def local(instant: str) -> str:
    """The stores' wall clock at an instant that is printed in UTC."""
    moment = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    wall = moment.astimezone(ZONE).replace(tzinfo=None)
    if wall.replace(tzinfo=ZONE).astimezone(UTC) != moment:  # read again, the first of two is taken (S10)
        sys.exit(f"{instant} would be another instant without its offset")
    return wall.isoformat()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
