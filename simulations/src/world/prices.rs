//! Sans-IO: what the edges of a world cost, read from a table.

use scheduler::plan::billing::{BillingModel, Tariff};

use crate::table::{Column, Fault, Table};

/// The tariffs of a world's edges, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    /// What they are called: `P1`.
    pub name: String,
    /// By edge.
    pub tariffs: Vec<Tariff>,
}

impl Prices {
    /// The same edges billed by volume, where a price per GB is known.
    pub fn by_volume(&self) -> Self {
        let volume = |tariff: &Tariff| Tariff {
            model: BillingModel::Volume,
            ..*tariff
        };
        Self {
            name: format!("{} by volume", self.name),
            tariffs: self.tariffs.iter().map(volume).collect(),
        }
    }
}

/// The prices of these edges from a table with a row for each.
pub fn read(name: &str, (file, text): (&str, &str), edges: &[&str]) -> Result<Prices, Fault> {
    let table = Table::read(file, text, COLUMNS)?;
    let mut tariffs = vec![None; edges.len()];
    for row in table.rows() {
        let edge = row.name("edge")?;
        let Some(at) = edges.iter().position(|known| *known == edge) else {
            let close = edges
                .iter()
                .find(|known| strsim::damerau_levenshtein(known, edge) <= 2);
            let remedy = match close {
                Some(known) => format!("did you mean {known:?}?"),
                None => "remove the row, or add the edge to the list of edges".to_owned(),
            };
            return Err(row.fault(format!("edge {edge:?} is not known"), remedy));
        };
        if tariffs[at].is_some() {
            let problem = format!("edge {edge:?} has a price already");
            return Err(row.fault(problem, "remove one of the two rows"));
        }
        let model = match row.text("model") {
            "" | "p95" => BillingModel::P95,
            "daily_peak" => BillingModel::DailyPeak,
            "volume" => BillingModel::Volume,
            "flat" => BillingModel::Flat,
            other => {
                let remedy = "say p95, daily_peak, volume or flat, or leave it empty for p95";
                return Err(row.fault(format!("model = {other:?} is not known"), remedy));
            }
        };
        let usd = |name: &str| row.optional(name, 0.0..=MAX_USD);
        let rate = usd("usd_per_mbps_month_p95")?;
        let per_gb = usd("usd_per_gb")?;
        let (needed, price) = match model {
            BillingModel::P95 | BillingModel::DailyPeak => ("usd_per_mbps_month_p95", rate),
            BillingModel::Volume => ("usd_per_gb", per_gb),
            BillingModel::Flat => ("port_usd", usd("port_usd")?),
        };
        if price.is_none() {
            let problem = format!("{needed} is missing");
            return Err(row.fault(problem, "fill it in: this contract is billed by it"));
        }
        tariffs[at] = Some(Tariff {
            model,
            usd_per_mbps_month: rate.unwrap_or(0.0),
            usd_per_gb: per_gb.unwrap_or(0.0),
            commit_mbps: row.optional("commit_mbps", 0.0..=1e9)?.unwrap_or(0.0),
            commit_gb: row.optional("commit_gb", 0.0..=1e12)?.unwrap_or(0.0),
            overage: row.optional("overage", 0.0..=100.0)?.unwrap_or(1.0),
            port_usd: row.optional("port_usd", 0.0..=1e9)?.unwrap_or(0.0),
            relay_usd_per_gb: usd("relay_usd_per_gb")?.unwrap_or(0.0),
        });
    }
    let priced = tariffs.iter().zip(edges).map(|(tariff, edge)| {
        let missing = || {
            let problem = format!("edge {edge:?} has no price");
            Fault::new((file, 0), problem, format!("add a row that begins {edge},"))
        };
        tariff.ok_or_else(missing)
    });
    Ok(Prices {
        name: name.to_owned(),
        tariffs: priced.collect::<Result<_, _>>()?,
    })
}

const COLUMNS: &[Column] = &[
    Column::required("edge").or(&["node"]),
    Column::optional("usd_per_mbps_month_p95").or(&["usd_per_mbps_month"]),
    Column::optional("usd_per_gb"),
    Column::optional("commit_mbps"),
    Column::optional("model"),
    Column::optional("commit_gb"),
    Column::optional("overage"),
    Column::optional("port_usd"),
    Column::optional("relay_usd_per_gb"),
];

/// As for `[[price]]`: larger ones are slips of units.
const MAX_USD: f64 = 10_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_edge_gets_the_tariff_of_its_row() {
        let text = "node,usd_per_mbps_month,commit_mbps,model,usd_per_gb\n\
                    b,2,10,,\na,,,volume,0.01\n";
        let prices = read("own", ("prices.csv", text), &["a", "b"]).unwrap();
        let [a, b] = prices.tariffs[..] else { panic!() };
        assert_eq!((a.model, a.usd_per_gb), (BillingModel::Volume, 0.01));
        assert_eq!((b.usd_per_mbps_month, b.commit_mbps), (2.0, 10.0));
        assert_eq!(b.model, BillingModel::P95);
    }

    #[test]
    fn prices_that_miss_say_where_and_what_to_do() {
        for (text, said) in [
            (
                "edge,usd_per_gb\nfra-2,1\n",
                "line 2: edge \"fra-2\" is not known; did you mean",
            ),
            (
                "edge,usd_per_gb\nfra-1,1\n",
                "line 2: usd_per_mbps_month_p95 is missing; fill",
            ),
            (
                "edge,usd_per_mbps_month_p95\nfra-1,1\n",
                "edge \"paris\" has no price; add a row that begins paris,",
            ),
            (
                "edge,usd_per_mbps_month_p95\nfra-1,1\nfra-1,1\n",
                "line 3: edge \"fra-1\" has a price already",
            ),
            (
                "edge,model,usd_per_gb\nfra-1,p96,1\n",
                "model = \"p96\" is not known; say p95, daily_peak",
            ),
            (
                "edge,usd_per_mbps_month_p95\nfra-1,-1\n",
                "usd_per_mbps_month_p95 = -1 is out of range",
            ),
        ] {
            let error = read("P", ("prices.csv", text), &["fra-1", "paris"]).unwrap_err();
            assert!(error.to_string().contains(said), "{error}\nnot {said}");
        }
    }
}
