#!/usr/bin/env python3
"""The yardstick of docs/forecasting.md: LightGBM on the same features, judged on the same folds.

    weir forecast evaluate --data FILE.csv.gz --horizons 5m,15m,1h --out var/forecast
    weir forecast rows     --data FILE.csv.gz --horizons 5m,15m,1h --out var/rows
    python3 benches/forecast_lightgbm.py var/rows var/forecast/report.json [SERIES...]

Needs numpy and lightgbm (PyPI). For each series and horizon and each fold it trains 150 trees of 31 leaves at a rate of
0.1 on every row whose target was known before the fold, for the median (l1) and the 0.9 quantile, and forecasts the
fold's steps of the second half. Ours samples rows (`evaluate --rows`), the yardstick takes all of them.
WAPE and pinball loss are relative to the sum of values, as in report.json. With OUT.json as `--json OUT.json` the
figures are written as well. The tests do not run this.
"""
import argparse
import json
import pathlib
import time

import lightgbm
import numpy

TREES = 150
SETTINGS = dict(num_leaves=31, learning_rate=0.1, min_data_in_leaf=20, seed=1, deterministic=True, verbose=-1)
KINDS = dict(median=dict(objective="l1"), q90=dict(objective="quantile", alpha=0.9))
LEAST_ROWS = 300


def read(folder, listed):
    """The rows of one series and horizon, as src/forecast/rows.rs writes them."""
    record = numpy.dtype(
        [("known_at", "<i8"), ("now", "<f8"), ("truth", "<f8"), ("weight", "<f8"), ("row", "<f4", (listed["width"],))]
    )
    return numpy.fromfile(folder / listed["file"], dtype=record)


def forecasts(rows, listed, settings):
    """A forecast for each row of the second half, made from what was known then; NaN for others."""
    now = numpy.log1p(rows["now"])
    target = numpy.log1p(rows["truth"]) - now
    made = rows["known_at"] - listed["ahead"]
    bounds = listed["folds"] + [numpy.iinfo(numpy.int64).max]
    moved = numpy.full(len(rows), numpy.nan)
    for begin, end in zip(bounds, bounds[1:]):
        past = rows["known_at"] < begin
        fold = (made >= begin) & (made < end) & (made >= listed["half"])
        if past.sum() < LEAST_ROWS or not fold.any():
            continue
        known = lightgbm.Dataset(rows["row"][past], target[past], weight=rows["weight"][past])
        model = lightgbm.train({**SETTINGS, **settings}, known, TREES)
        moved[fold] = model.predict(rows["row"][fold])
    return numpy.maximum(numpy.expm1(now + moved), 0.0)


def judge(folder, listed, threads):
    rows, began = read(folder, listed), time.monotonic()
    said = {kind: forecasts(rows, listed, {**settings, "num_threads": threads}) for kind, settings in KINDS.items()}
    judged = ~numpy.isnan(said["median"])
    truth = rows["truth"][judged]
    whole = truth.sum()
    if not whole > 0:
        return None
    below = truth - said["q90"][judged]
    return dict(
        id=listed["id"],
        horizon_s=listed["horizon_s"],
        n=int(judged.sum()),
        wape=float(numpy.abs(said["median"][judged] - truth).sum() / whole),
        pinball=float(numpy.maximum(0.9 * below, -0.1 * below).sum() / whole),
        coverage=float((below <= 0).mean()),
        seconds=time.monotonic() - began,
    )


def line(yardstick, ours):
    def change(own, other):
        return f"{100 * (own / other - 1):+7.1f}" if own is not None and other else f"{'-':>7}"

    own = ours.get((yardstick["id"], yardstick["horizon_s"]), {})
    wape, pinball = own.get("wape"), own.get("pinball", {}).get("0.9")
    shown = f"{100 * wape:8.2f}" if wape is not None else f"{'-':>8}"
    return (
        f"{yardstick['id'][:40]:40} {yardstick['horizon_s']:7} {yardstick['n']:7} {shown}"
        f" {100 * yardstick['wape']:9.2f} {change(wape, yardstick['wape'])} {change(pinball, yardstick['pinball'])}"
        f" {100 * own.get('coverage', {}).get('0.9', float('nan')):7.1f} {100 * yardstick['coverage']:9.1f}"
        f" {yardstick['seconds']:7.1f}"
    )


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("rows", type=pathlib.Path, help="what `weir forecast rows` wrote")
    options.add_argument("report", type=pathlib.Path, help="report.json of `weir forecast evaluate`")
    options.add_argument("series", nargs="*", help="only these; all when none is named")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--json", type=pathlib.Path, help="write the yardstick's figures")
    options = options.parse_args()
    ours = {(s["id"], s["horizon_s"]): s for s in json.loads(options.report.read_text())["series"]}
    print(
        f"{'series':40} {'ahead s':>7} {'n':>7} {'WAPE %':>8} {'LightGBM':>9} {'change':>7} {'pin. 90':>7}"
        f" {'90 %':>7} {'LightGBM':>9} {'s':>7}"
    )
    figures = []
    for listed in json.loads((options.rows / "index.json").read_text()):
        if options.series and listed["id"] not in options.series:
            continue
        if found := judge(options.rows, listed, options.threads):
            figures.append(found)
            print(line(found, ours), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
