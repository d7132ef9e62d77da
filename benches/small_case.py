#!/usr/bin/env python3
"""The small case of docs/simulations.md: ten edges and a week of hours, against the best solution known.

    python3 benches/small_case.py make  benches/small_case            # the world, from a fixed seed (committed)
    python3 benches/small_case.py solve benches/small_case [SECONDS]  # writes best_known.json into it (committed)

Needs highspy and numpy (PyPI), `make` neither. What a policy would have to find without knowing demand, `solve` seeks
with all of it known: which hours each edge goes beyond its level (one in twenty is free) and which level that leaves
it, so that the bill of the 95th percentile is least. Regions may use the edges that are within 25 ms of their nearest,
and their nearest three in any case, as all rules do. A mixed-integer program: for each hour t and edge e

    sum of flows to e <= level_e + (capacity_e - level_e's least) * free_et,  sum over t of free_et <= slots / 20

and the cost of an edge is its price times the larger of level and commit. A third of the time goes to improving a
solution of the relaxation by annealing, the rest to HiGHS from there, whose bound is kept. The tests read
the result and run none of this (`cargo test -p simulations small_case`).
"""
import csv
import gzip
import io
import json
import math
import pathlib
import random
import sys
import time

SEED = 20261
HISTORY_DAYS, DAYS, HOURS = 7, 7, 24
SLACK_MS, ALWAYS, FREE_ONE_IN = 25.0, 3, 20
METROS = [  # name, country, area, lat, lon, hours from UTC, million viewers
    ("london", "GB", "europe", 51.51, -0.13, 0.0, 13.0),
    ("paris", "FR", "europe", 48.86, 2.35, 1.0, 11.0),
    ("warsaw", "PL", "europe", 52.23, 21.01, 1.0, 4.0),
    ("new-york", "US", "us_ca", 40.71, -74.01, -5.0, 19.0),
    ("chicago", "US", "us_ca", 41.88, -87.63, -6.0, 9.0),
]
NETWORKS = [("fibre", 3.0, 1.0, 1.0), ("cable", 8.0, 1.0, 1.0), ("mobile", 20.0, 1.9, 0.75)]  # access ms, noon, evening
AREA_USD = {"europe": 0.5, "us_ca": 0.55}


def km(a, b):
    (lat1, lon1), (lat2, lon2) = [map(math.radians, p) for p in (a, b)]
    half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(half))


def shape(hour, weekend, noon, evening):
    def bump(at, width):
        away = (hour - at + 12) % 24 - 12
        return math.exp(-away * away / (2 * width * width))

    weekly = (1.6, 1.12) if weekend else (1.0, 1.0)
    return 0.30 + 0.30 * noon * weekly[0] * bump(13.2, 2.8) + evening * weekly[1] * bump(20.8, 2.5)


def write(folder, name, head, rows):
    with open(folder / name, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(head)
        out.writerows(rows)


def make(folder):
    dice = random.Random(SEED)
    slots = (HISTORY_DAYS + DAYS) * HOURS
    regions, edges, demand = [], [], []
    for at, (metro, _, _, lat, lon, offset, million) in enumerate(METROS):
        size = million * math.exp(dice.gauss(0, 0.3))
        parts = [0.2 + dice.gammavariate(1.5, 1) for _ in NETWORKS]
        shift, own = dice.gauss(0, 0.4), 0.0
        levels = [math.exp(dice.gauss(0, 0.05)) for _ in range(HISTORY_DAYS + DAYS)]
        flash = {dice.randrange(slots): dice.uniform(0.4, 1.2) for _ in range(4)}
        common = []
        for slot in range(slots):
            own = 0.8 * own + 0.6 * dice.gauss(0, 0.05)
            common.append(levels[slot // HOURS] * math.exp(own) * (1 + flash.get(slot, 0) + flash.get(slot - 1, 0) / 2))
        for (name, access, noon, evening), part in zip(NETWORKS, parts):
            place = (lat + dice.gauss(0, 0.35), lon + dice.gauss(0, 0.35))
            access = round(access * math.exp(dice.gauss(0, 0.15)), 1)
            regions.append((f"{metro}-{name}", metro, name, round(part / sum(parts), 4), *map(rounded, place), access))
            mean = 400.0 * size * part / sum(parts)
            series = []
            for slot in range(slots):
                local = (slot + offset + shift) % 24
                weekend = int((slot + offset) // 24) % 7 >= 5
                noise = math.exp(dice.gauss(0, 0.04))
                series.append(max(1, round(mean * shape(local, weekend, noon, evening) * common[slot] * noise)))
            demand.append(series)
        peak = max(sum(series[slot] for series in demand[-len(NETWORKS):]) for slot in range(slots))
        split = dice.uniform(0.35, 0.65)
        for nth, part in enumerate((split, 1 - split), 1):
            place = (lat + dice.gauss(0, 0.2), lon + dice.gauss(0, 0.2))
            capacity = round(1.35 * peak * part / 10) * 10
            edges.append((f"{metro}-e{nth}", metro, *map(rounded, place), capacity, capacity // 2))
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(name="small", seed=SEED, step_s=3600, slots=slots, first_billed_slot=HISTORY_DAYS * HOURS,
                 start_utc="2026-01-05T00:00:00Z")
    (folder / "world.json").write_text(json.dumps(about, indent=2) + "\n")
    metros = ["metro", "country", "area", "lat", "lon", "utc_offset_h", "internet_users_weight"]
    write(folder, "metros.csv", metros, METROS)
    write(folder, "regions.csv", ["region", "metro", "asn_class", "share", "lat", "lon", "access_ms"], regions)
    write(folder, "edges.csv", ["edge", "metro", "lat", "lon", "capacity_mbps", "ingress_mbps"], edges)
    ways = []
    for region in regions:
        to = [(round(1.55 * km(region[4:6], edge[2:4]) / 100 + region[6] + dice.gammavariate(1.2, 4), 1), edge[0])
              for edge in edges]
        ways.extend((region[0], edge, rtt) for rtt, edge in sorted(to))
    write(folder, "rtt.csv", ["region", "edge", "rtt_ms"], ways)
    metro_usd = {m[0]: AREA_USD[m[2]] * math.exp(dice.gauss(0, 0.2)) for m in METROS}
    prices = []
    for edge in edges:
        usd = round(metro_usd[edge[1]] * math.exp(0.55 * dice.gauss(0, 1)), 3)
        commit = round(0.1 * edge[4]) if dice.random() < 1 / 3 else 0
        prices.append((edge[0], usd, round(usd / 162, 6), commit))
    write(folder, "prices_small.csv", ["edge", "usd_per_mbps_month_p95", "usd_per_gb", "commit_mbps"], prices)
    rank = [1 / n for n in range(1, 401)]
    streams = []
    for nth, part in enumerate(rank):
        home = dice.choices(METROS, [m[6] for m in METROS])[0][0]
        kind = "global" if dice.random() < 0.08 else "home"
        streams.append((f"s{nth:03}", dice.choice([800, 1500, 2500, 3500, 4500, 6000]), f"{part / sum(rank):.8f}", home, kind))
    write(folder, "streams.csv", ["stream", "bitrate_kbps", "popularity", "home_metro", "affinity"], streams)
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["slot"] + [region[0] for region in regions])
    out.writerows([slot] + [series[slot] for series in demand] for slot in range(slots))
    with open(folder / "demand.csv.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        packed.write(text.getvalue().encode())


def rounded(degrees):
    return round(degrees, 4)


def table(folder, name):
    with open(folder / name) as file:
        return list(csv.DictReader(file))


class Case:
    """What there is to decide, from the files."""

    def __init__(self, folder):
        about = json.loads((folder / "world.json").read_text())
        self.first = about["first_billed_slot"]
        with gzip.open(folder / "demand.csv.gz", "rt") as file:
            rows = list(csv.reader(file))
        self.regions, self.demand = rows[0][1:], [[float(v) for v in row[1:]] for row in rows[1 + self.first:]]
        edges = table(folder, "edges.csv")
        at = {edge["edge"]: nth for nth, edge in enumerate(edges)}
        self.capacity = [float(edge["capacity_mbps"]) for edge in edges]
        prices = {row["edge"]: row for row in table(folder, "prices_small.csv")}
        self.usd = [float(prices[edge["edge"]]["usd_per_mbps_month_p95"]) for edge in edges]
        self.commit = [float(prices[edge["edge"]]["commit_mbps"]) for edge in edges]
        ways = {region: [] for region in self.regions}
        for row in table(folder, "rtt.csv"):
            ways[row["region"]].append((float(row["rtt_ms"]), row["edge"]))
        self.ways = []
        for region in self.regions:
            sorted_ways = sorted(ways[region])[:16]
            nearest = sorted_ways[0][0]
            self.ways.append([at[edge] for nth, (rtt, edge) in enumerate(sorted_ways)
                              if nth < ALWAYS or rtt <= nearest + SLACK_MS])
        self.free = len(self.demand) // FREE_ONE_IN

    def bill(self, loads):
        """The rule of the reference worlds: the largest load once one in twenty is dropped, or the commit."""
        total = 0.0
        for edge, (usd, commit) in enumerate(zip(self.usd, self.commit)):
            level = sorted((row[edge] for row in loads), reverse=True)[self.free]
            total += usd * max(level, commit)
        return total

    def model(self, highspy):
        """The program: levels, then hours' free choices, then flows."""
        h = highspy.Highs()
        h.setOptionValue("output_flag", False)
        h.setOptionValue("threads", 1)
        h.setOptionValue("random_seed", SEED)
        edges, hours = range(len(self.usd)), range(len(self.demand))
        self.level = [h.addVariable(lb=self.commit[e], ub=self.capacity[e], obj=self.usd[e]) for e in edges]
        self.beyond = [[h.addBinary() for _ in edges] for _ in hours]
        for e in edges:
            h.addConstr(sum(self.beyond[t][e] for t in hours) <= self.free)
        self.flow, self.into, self.capped = [], [], {}
        for t in hours:
            to, flows = [[] for _ in edges], []
            for demand, ways in zip(self.demand[t], self.ways):
                of = [h.addVariable(lb=0, ub=demand) for _ in ways]
                h.addConstr(sum(of) == demand)
                for e, flow in zip(ways, of):
                    to[e].append(flow)
                flows.append(of)
            for e in edges:
                if not to[e]:
                    continue
                reach = sum(d for d, ways in zip(self.demand[t], self.ways) if e in ways)
                most = min(self.capacity[e], reach)
                h.addConstr(sum(to[e]) <= self.capacity[e])
                more = max(0.0, most - self.commit[e])
                capped = h.addConstr(sum(to[e]) <= self.level[e] + more * self.beyond[t][e])
                self.capped[t, e] = capped.index
            self.flow.append(flows)
            self.into.append([[flow.index for flow in of] for of in to])
        return h

    def loads(self, values):
        rows = []
        for flows in self.flow:
            row = [0.0] * len(self.usd)
            for ways, of in zip(self.ways, flows):
                for e, flow in zip(ways, of):
                    row[e] += values[flow.index]
            rows.append(row)
        return rows


def improve(case, h, highspy, seconds):
    """A solution: of the hours that keep an edge's level up, by the program's duals, one becomes free for one that
    needs it less, again and again; now and then what is worse is taken, ever more seldom (annealing)."""
    began, dice = time.monotonic(), random.Random(SEED)
    edges, hours = range(len(case.usd)), range(len(case.demand))
    column = [[v.index for v in row] for row in case.beyond]
    for row in column:
        for c in row:
            h.changeColIntegrality(c, highspy.HighsVarType.kContinuous)
    h.run()
    relaxed, values = h.getInfo().objective_function_value, list(h.getSolution().col_value)
    free = [set(sorted(hours, key=lambda t: -values[column[t][e]])[: case.free]) for e in edges]

    def fix(t, e):
        is_free = float(t in free[e])
        h.changeColBounds(column[t][e], is_free, is_free)

    def run():
        h.run()
        return h.getInfo().objective_function_value

    for t in hours:
        for e in edges:
            fix(t, e)
    now = best = run()
    kept, rounds = [set(hours) for hours in free], 0
    print(f"relaxed {relaxed:.2f}, rounded {best:.2f}", flush=True)
    while time.monotonic() - began < seconds:
        rounds += 1
        solution = h.getSolution()
        values, duals = solution.col_value, solution.row_dual
        swaps, before = [], [set(hours) for hours in free]
        for e in dice.sample(list(edges), dice.choice([1, 1, 2, 3])):
            level = values[case.level[e].index]
            weight = {t: abs(duals[case.capped[t, e]]) for t in hours if t not in free[e] and (t, e) in case.capped}
            held = [t for t in weight if weight[t] > 1e-9]
            if not held:
                continue
            for _ in range(dice.choice([1, 1, 2, 3])):
                t = dice.choices(held, [weight[t] for t in held])[0]
                spare = {u: sum(values[flow] for flow in case.into[u][e]) - level for u in free[e]}
                out = min(free[e], key=lambda u: spare[u] * dice.uniform(0.5, 1.5)) if dice.random() < 0.8 \
                    else dice.choice(sorted(free[e]))
                free[e] = (free[e] - {out}) | {t}
                swaps += [(t, e), (out, e)]
        for t, e in swaps:
            fix(t, e)
        found = run()
        heat = 0.01 * best * (1 - (time.monotonic() - began) / seconds) ** 2
        if found <= now or dice.random() < math.exp(-(found - now) / max(heat, 1e-9)):
            now = found
            if found < best - 1e-6:
                best, kept = found, [set(hours) for hours in free]
        else:
            free = before
            for t, e in swaps:
                fix(t, e)
            run()
    free = kept
    for t in hours:
        for e in edges:
            fix(t, e)
    best, values = run(), list(h.getSolution().col_value)
    print(f"annealed {best:.2f} in {rounds} rounds", flush=True)
    for row in column:
        for c in row:
            h.changeColIntegrality(c, highspy.HighsVarType.kInteger)
            h.changeColBounds(c, 0.0, 1.0)
    return relaxed, best, values


def solve(folder, seconds):
    import highspy

    case, began, cpu = Case(folder), time.monotonic(), time.process_time()
    h = case.model(highspy)
    relaxed, annealed, values = improve(case, h, highspy, seconds / 3)
    solution = highspy.HighsSolution()
    solution.col_value = values
    h.setSolution(solution)
    h.setOptionValue("time_limit", h.getRunTime() + seconds * 2 / 3)
    h.setOptionValue("output_flag", True)
    h.run()
    info = h.getInfo()
    values = list(h.getSolution().col_value)
    result = {
        "what": "the least bill found with all demand known, and a bound that none falls below",
        "usd": round(case.bill(case.loads(values)), 4),
        "objective": round(info.objective_function_value, 4),
        "bound": round(info.mip_dual_bound, 4),
        "relaxed": round(relaxed, 4),
        "annealed": round(annealed, 4),
        "gap": round(info.mip_gap, 6),
        "solver": f"HiGHS {h.version()}, highspy from PyPI, one thread, seed {SEED}",
        "seconds": round(time.monotonic() - began),
        "cpu_seconds": round(time.process_time() - cpu),
        "slack_ms": SLACK_MS,
    }
    (folder / "best_known.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "make":
        make(folder)
    else:
        solve(folder, float(sys.argv[3]) if len(sys.argv) > 3 else 1800.0)
