//! `applications/NAME/metrics`: what the replicas of an Application use. Nothing is measured while no client asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use kube::Api;
use serde_json::{Value, json};

use super::failure::Failure;
use super::group::{GROUP, VERSION};
use super::lookup;
use super::parameters::Parameters;
use super::target::Target;
use crate::api::{Application, Duration as Length};
use crate::controller::context::Context;
use crate::error::Problem;
use crate::model::AppId;
use crate::model::requests::Requests;
use crate::runtime::{CpuUsage, Traffic, Usage, label};

/// The time between the two measurements from which the use of CPU follows, if the client does not choose one.
const WINDOW: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// `applications/NAME/metrics`.
pub(super) async fn metrics(
    controller: &Arc<Context>,
    target: &Target,
    parameters: &Parameters,
) -> Result<Response, Failure> {
    let window = match parameters.text("window") {
        None => WINDOW,
        Some(text) => {
            let window = Length::parse(text).map(|window| window.get()).ok();
            window.filter(|window| *window <= LONGEST).ok_or_else(|| {
                let message = format!("the parameter window is {text:?}: write a duration of at most 30s, or 0s for one measurement");
                Failure::bad_request(message)
            })?
        }
    };
    let api: Api<Application> = Api::namespaced(controller.client.clone(), &target.namespace);
    let app = lookup::object(&api, target, &controller.applications).await?;
    let id = AppId::new(&*target.namespace, &*target.name);
    let mut before = Vec::new();
    let requested = requests(controller, &app, &id).await;
    let begun = Instant::now();
    let mut now = measure(controller, &id).await?;
    // A rate is not measured twice.
    let adds_up = now.iter().any(|usage| matches!(usage.cpu, CpuUsage::Total(_)));
    if !window.is_zero() && (adds_up || requested.is_some()) {
        tokio::time::sleep(window).await;
        before = std::mem::replace(&mut now, measure(controller, &id).await?);
    }
    let replicas: Vec<Value> = now
        .iter()
        .map(|usage| replica(usage, before.iter().find(|before| before.id == usage.id)))
        .collect();
    let mut document = json!({"kind": "ApplicationMetrics", "apiVersion": format!("{GROUP}/{VERSION}"),
        "metadata": {"name": target.name, "namespace": target.namespace}, "timestamp": Timestamp::now().to_string(),
        "replicas": replicas});
    if let Some(requested) = requested {
        document["requests"] = match requested {
            Err(why) => json!({"problem": why}),
            Ok(before) if window.is_zero() => totals(&before),
            Ok(before) => match requests(controller, &app, &id).await {
                Some(Ok(after)) => rates(&before, &after, begun.elapsed()),
                Some(Err(why)) => json!({"problem": why}),
                None => totals(&before),
            },
        };
    }
    Ok(Json(document).into_response())
}

/// What was requested of the Application; `None` if it has no routes or Davit no proxy.
async fn requests(controller: &Context, app: &Application, id: &AppId) -> Option<Result<Requests, String>> {
    let routes = controller
        .routes
        .as_ref()
        .filter(|_| !app.spec.routes.is_empty())?;
    let all = routes.requests().await;
    Some(all.map(|all| all.get(id).cloned().unwrap_or_default()))
}

fn totals(requests: &Requests) -> Value {
    json!({"total": requests.count(), "errors": requests.errors(), "seconds": requests.seconds})
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown rounded")]
fn rates(before: &Requests, after: &Requests, time: Duration) -> Value {
    let (new, time) = (after.since(before), time.as_secs_f64());
    let mut document = totals(after);
    document["perSecond"] = json!(new.count() as f64 / time);
    document["errorsPerSecond"] = json!(new.errors() as f64 / time);
    if new.count() > 0 {
        document["averageSeconds"] = json!(new.seconds / new.count() as f64);
    }
    if let Some(slow) = new.quantile(0.95) {
        document["p95Seconds"] = json!(slow);
    }
    document
}

async fn measure(controller: &Context, id: &AppId) -> Result<Vec<Usage>, Failure> {
    let usages = controller.runtime.usage(id).await;
    usages.map_err(|error| Failure::from(Problem::of(&error)))
}

fn replica(usage: &Usage, before: Option<&Usage>) -> Value {
    let mut cpu = match usage.cpu {
        CpuUsage::Total(time) => json!({"usageSeconds": time.as_secs_f64()}),
        CpuUsage::Rate(used) => json!({"usageNanoCores": used}),
    };
    if let Some(used) = before.and_then(|before| nano_cores(before, usage)) {
        cpu["usageNanoCores"] = json!(used);
    }
    if let Some(limit) = usage.cpu_limit {
        cpu["limitNanoCores"] = json!(limit);
    }
    let mut memory = json!({"usageBytes": usage.memory});
    if let Some(limit) = usage.memory_limit {
        memory["limitBytes"] = json!(limit);
    }
    let traffic =
        |traffic: Traffic, [first, second]: [&str; 2]| json!({first: traffic.r#in, second: traffic.out});
    let mut document = json!({"name": label(&usage.id, &usage.name, &usage.release), "container": usage.name, "release": usage.release,
        "cpu": cpu, "memory": memory, "restarts": usage.restarts});
    if let Some(network) = usage.network {
        document["network"] = traffic(network, ["receivedBytes", "sentBytes"]);
    }
    if let Some(block) = usage.block {
        document["block"] = traffic(block, ["readBytes", "writtenBytes"]);
    }
    document
}

/// The CPU that was used between two measurements; `None` if the container was started again meanwhile.
fn nano_cores(before: &Usage, after: &Usage) -> Option<u64> {
    let (CpuUsage::Total(first), CpuUsage::Total(second)) = (before.cpu, after.cpu) else {
        return None;
    };
    let used = second.checked_sub(first)?;
    let time = Duration::try_from(after.at.duration_since(before.at)).ok()?;
    let cores = used.as_secs_f64() / time.as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of cores is small and positive"
    )]
    cores.is_finite().then_some((cores * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(at: i64, cpu: Duration) -> Usage {
        Usage {
            id: "c".to_owned(),
            name: "davit-t-default_shop-a1b2-1".to_owned(),
            release: "shop-7".to_owned(),
            at: Timestamp::from_second(at).unwrap(),
            cpu: CpuUsage::Total(cpu),
            cpu_limit: None,
            memory: 5,
            memory_limit: Some(10),
            network: Some(Traffic { r#in: 1, out: 2 }),
            block: None,
            restarts: 3,
        }
    }

    #[test]
    fn rates_are_what_was_requested_in_the_time() {
        let before = Requests {
            answers: [0, 10, 0, 0, 1],
            seconds: 2.0,
            ..Requests::default()
        };
        let after = Requests {
            answers: [0, 28, 0, 0, 3],
            seconds: 4.0,
            within: [(100_000, 20), (u64::MAX, 20)].into(),
        };
        let document = rates(&before, &after, Duration::from_secs(2));
        assert_eq!(
            document,
            json!({"total": 31, "errors": 3, "seconds": 4.0, "perSecond": 10.0, "errorsPerSecond": 1.0,
                "averageSeconds": 0.1, "p95Seconds": 0.095})
        );
        let idle = rates(&after, &after, Duration::from_secs(2));
        assert!(idle["perSecond"] == 0.0 && idle["averageSeconds"].is_null() && idle["p95Seconds"].is_null());
    }

    #[test]
    fn use_of_cpu_is_what_was_added_in_the_time() {
        let (before, after) = (
            usage(0, Duration::from_secs(10)),
            usage(2, Duration::from_secs(11)),
        );
        assert_eq!(nano_cores(&before, &after), Some(500_000_000));
        assert_eq!(nano_cores(&after, &before), None);
        assert_eq!(nano_cores(&before, &before), None);
        let document = replica(&after, Some(&before));
        assert_eq!(document["name"], "shop-7.1");
        assert_eq!(document["cpu"]["usageNanoCores"], 500_000_000);
        assert_eq!(document["memory"], json!({"usageBytes": 5, "limitBytes": 10}));
        assert_eq!(document["network"], json!({"receivedBytes": 1, "sentBytes": 2}));
        let mut rate = after.clone();
        rate.cpu = CpuUsage::Rate(7);
        let expected = json!({"usageNanoCores": 7});
        assert_eq!(replica(&rate, Some(&before))["cpu"], expected);
        assert!(document["block"].is_null() && document["cpu"]["limitNanoCores"].is_null());
    }
}
