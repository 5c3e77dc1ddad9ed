//! The limits of users over all connections.

use std::collections::BTreeMap;
use std::time::Duration;

use bond_core::connection::UserLimits;
use bond_core::topic::Family;
use bond_redis::RedisUserLimits;

use crate::server::Server;

fn of(family: Family, count: u32) -> BTreeMap<Family, u32> {
    BTreeMap::from([(family, count)])
}

#[tokio::test]
async fn two_processes_count_one_user_together_each_family_by_itself_and_others_apart() {
    let server = Server::start(&[]).await;
    let first = RedisUserLimits::new(server.connect().await);
    let second = RedisUserLimits::new(server.connect().await);
    let burst = Family::Risk.limit_of_user().burst;
    let spent = first.spend("user:u1", &of(Family::Risk, burst - 10)).await.expect("counted");
    assert_eq!(spent[&Family::Risk].granted, burst - 10);
    let both = BTreeMap::from([(Family::Risk, 20), (Family::Market, 20)]);
    let spent = second.spend("user:u1", &both).await.expect("counted");
    // What was owed is paid off while the test runs, one in 1.2 s.
    let granted = spent[&Family::Risk].granted;
    assert!((10..20).contains(&granted) && spent[&Family::Market].granted == 20, "{spent:?}");
    let wait = spent[&Family::Risk].wait;
    assert!(!wait.is_zero() && wait <= Family::Risk.limit_of_user().interval, "{wait:?}");
    let other = second.spend("user:u2}{", &of(Family::Risk, 20)).await.expect("counted");
    assert_eq!(other[&Family::Risk].granted, 20);
    tokio::time::sleep(wait + Duration::from_millis(20)).await;
    let again = first.spend("user:u1", &of(Family::Risk, 1)).await.expect("counted");
    assert_eq!(again[&Family::Risk].granted, 1, "after the time that was named");
}

#[tokio::test]
async fn what_is_counted_is_kept_no_longer_than_it_is_owed() {
    let server = Server::start(&[]).await;
    let limits = RedisUserLimits::new(server.connect().await);
    limits.spend("user:u1", &of(Family::Risk, 10)).await.expect("counted");
    let left: i64 = server.command(&["PTTL", "bond:subscriptions:user:u1"]).parse().expect("a time");
    let owed = Family::Risk.limit_of_user().interval * 10;
    assert!((1..=i64::try_from(owed.as_millis()).expect("a number") + 1_100).contains(&left), "{left}");
}

#[tokio::test]
async fn who_cannot_be_asked_says_so() {
    let mut server = Server::start(&[]).await;
    let limits = RedisUserLimits::new(server.connect().await);
    server.kill();
    assert!(limits.spend("user:u1", &of(Family::Risk, 1)).await.is_err());
}
