//! A live show with everything real: the simulated Chat, a balancer, replicas as processes, a
//! database behind a wire; people who come and go; and the reckoning at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};
use stickymark::testing::database::{Db, MIGRATIONS};
use stickymark::testing::local::simulator::{Api, Options, Running, Settings, Simulated, start};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::balancer::{Balancer, Promise};
use super::database::sessions;
use super::process::{Orders, PATIENCE, Replica, pause};
use super::stall::Stall;
use super::wire::Wire;
use super::{TestDatabase, database, insert_rule};

/// `chat.calls_per_second` of all replicas together.
const BUDGET: usize = 40;
const TOKEN: &str = "token-of-the-console";

/// The show.
pub struct Show {
    /// Chat, as people see it.
    pub control: Simulated,
    /// Between the replicas and Chat.
    pub chat_wire: Wire,
    /// Between Chat and the replicas.
    pub balancer: Balancer,
    /// Between the replicas and the database.
    pub database_wire: Wire,
    /// Straight into the database.
    pub db: Db,
    /// The replicas.
    pub replicas: Vec<Replica>,
    orders: Orders,
    logs: tempfile::TempDir,
    stall: Stall,
    started: usize,
    rooms: usize,
    _chat: Running,
    _database: Option<TestDatabase>,
}

/// What the reckoning found.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Members online whose last arrival was answered, all with exactly their marks.
    pub members: usize,
    /// Members online who were promised nothing.
    pub unbound: usize,
    /// From the end of the fault until everything was in place.
    pub recovery: Duration,
}

impl Show {
    /// A show of three rooms on the shared server, with a database of its own.
    pub async fn open(replicas: usize) -> Self {
        Self::open_with(replicas, 3, Vec::new()).await
    }

    /// The same with more rooms and further settings of the replicas.
    pub async fn open_with(
        replicas: usize,
        rooms: usize,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let database = database().await;
        let url = SecretString::from(database.url().as_str());
        let mut show = Self::prepare(&url, rooms, environment).await;
        show._database = Some(database);
        show.start(replicas).await;
        show
    }

    /// A show of three rooms on a server of the caller's.
    pub async fn open_on(url: &SecretString, replicas: usize) -> Self {
        Self::open_on_with(url, replicas, Vec::new()).await
    }

    /// The same with further settings of the replicas.
    pub async fn open_on_with(
        url: &SecretString,
        replicas: usize,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let mut show = Self::prepare(url, 3, environment).await;
        show.start(replicas).await;
        show
    }

    async fn prepare(
        url: &SecretString,
        rooms: usize,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let mut inside = PgConnection::connect(url.expose_secret()).await.unwrap();
        MIGRATIONS.run(&mut inside).await.unwrap();
        inside.close().await.unwrap();
        let db = sessions(url.expose_secret());
        insert_rule(&db, "room-*", "vip*", &[1000, 1001]).await;
        insert_rule(&db, "room-*", "teacher", &[1000]).await;
        insert_rule(&db, "room-1", "teacher", &[1002]).await;
        let (chat_wire, control, chat, balancer) = stage().await;
        let mut url = Url::parse(url.expose_secret()).unwrap();
        let database_wire = Wire::to(address_of(&url)).await;
        url.set_ip_host(database_wire.address().ip()).unwrap();
        url.set_port(Some(database_wire.address().port())).unwrap();
        let own = [
            ("STICKYMARK__CHAT__CALLS_PER_SECOND", BUDGET.to_string()),
            ("STICKYMARK__CALLBACK__TOKENS", TOKEN.to_owned()),
        ];
        let orders = Orders {
            database: url.to_string(),
            chat: format!("http://{}", chat_wire.address()),
            environment: own.into_iter().chain(environment).collect(),
        };
        Self {
            control,
            chat_wire,
            balancer,
            database_wire,
            db,
            replicas: Vec::new(),
            orders,
            logs: tempfile::tempdir().unwrap(),
            stall: Stall::watch(),
            started: 0,
            rooms,
            _chat: chat,
            _database: None,
        }
    }

    /// Starts further replicas.
    pub async fn start(&mut self, count: usize) {
        for _ in 0..count {
            self.start_with(&[]).await;
        }
    }

    /// Starts one more replica, with settings of its own.
    pub async fn start_with(&mut self, environment: &[(&'static str, String)]) {
        self.started += 1;
        let log = self
            .logs
            .path()
            .join(format!("replica-{}.log", self.started));
        let mut orders = self.orders.clone();
        orders.environment.extend_from_slice(environment);
        let replica = Replica::start(&orders, log).await;
        self.balancer.add(replica.callbacks, replica.admin);
        self.replicas.push(replica);
    }

    /// Kills a replica with signal 9, and the balancer takes note.
    pub fn kill(&mut self, place: usize) {
        let mut replica = self.replicas.remove(place);
        replica.kill();
        self.balancer.remove(replica.callbacks);
    }

    /// Lets people come and go until told to stop.
    pub fn load(&self, seed: u64) -> Load {
        let stop = CancellationToken::new();
        let moves = Arc::new(AtomicUsize::new(0));
        let crowd = Crowd {
            control: self.control.clone(),
            rng: StdRng::seed_from_u64(seed),
            rooms: (0..self.rooms)
                .map(|number| format!("room-{number}"))
                .collect(),
            places: BTreeMap::new(),
        };
        let task = tokio::spawn(crowd.move_about(stop.clone(), moves.clone()));
        Load { stop, moves, task }
    }

    /// A new member joins a room; what the replica answered is in the ledger when this returns.
    pub async fn joins(&self, group: &str, account: &str) {
        self.control
            .waiting()
            .join(group, &[account])
            .await
            .unwrap();
    }

    /// Waits until a member has exactly the marks that the rules demand.
    pub async fn marked(&self, group: &str, account: &str) {
        let marks: Vec<u32> = demanded(group, account).into_iter().collect();
        self.control
            .wait_for_marks(group, account, &marks, PATIENCE)
            .await
            .unwrap();
    }

    /// The reckoning, once the fault is over: waits until every promise is kept, and fails if a mark
    /// is set that no rule demands, the budget was passed, or two calls for a room overlapped.
    pub async fn reckon(&self, what: &str, trials: usize, promise: Promise) -> Kept {
        let over = Instant::now();
        self.callbacks_done().await;
        let kept = loop {
            match self.look(promise).await {
                Ok((members, unbound)) => {
                    break Kept {
                        members,
                        unbound,
                        recovery: over.elapsed(),
                    };
                }
                Err(missing) => {
                    assert!(
                        over.elapsed() < PATIENCE,
                        "not kept after {what}: {missing:?}"
                    );
                    pause().await;
                }
            }
        };
        let calls = self.control.stats().await.unwrap().calls;
        if let Some(count) = calls.get(&Api::ModifyUserInfo) {
            let most = BUDGET + self.stall.calls(BUDGET);
            assert!(count.peak_per_second <= most, "{what}: {count:?}, {most}");
            assert!(count.most_at_once_in_a_room <= 1, "{what}: {count:?}");
        }
        self.replicas.iter().for_each(Replica::check_log);
        let ledger = self.balancer.ledger();
        println!(
            "chaos | {what} | trials {trials} | callbacks {} ({:?}) | bound {} | lost 0 | unbound {} \
             | recovery {:.1} s | slowest answer {:.2} s | calls {}",
            ledger.all(),
            ledger.statuses,
            kept.members,
            kept.unbound,
            kept.recovery.as_secs_f64(),
            ledger.slowest.as_secs_f64(),
            calls
                .get(&Api::ModifyUserInfo)
                .map_or(0, |count| count.calls),
        );
        kept
    }

    /// Waits until Chat has sent all it has to say.
    pub async fn callbacks_done(&self) {
        let began = Instant::now();
        loop {
            let counts = self.control.stats().await.unwrap().callbacks;
            let waiting = counts
                .values()
                .any(|count| count.queued > count.delivered + count.failed);
            if !waiting {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "callbacks never end: {counts:?}"
            );
            pause().await;
        }
    }

    /// How many members have the marks they were promised, and how many were promised nothing; or
    /// those who still lack theirs.
    async fn look(&self, promise: Promise) -> Result<(usize, usize), Vec<String>> {
        let ledger = self.balancer.ledger();
        let (mut bound, mut unbound, mut missing) = (0, 0, Vec::new());
        for (room, members) in self.control.rooms().await.unwrap() {
            for (account, member) in members {
                let demanded = demanded(&room, &account);
                assert!(
                    member.marks.is_subset(&demanded),
                    "{account} in {room} has {:?}",
                    member.marks
                );
                if !member.online || demanded.is_empty() {
                    continue;
                }
                if !ledger.binds(promise, &room, &account, member.arrived_at) {
                    unbound += 1;
                } else if member.marks == demanded {
                    bound += 1;
                } else {
                    missing.push(format!("{account} in {room}: {:?}", member.marks));
                }
            }
        }
        if missing.is_empty() {
            Ok((bound, unbound))
        } else {
            Err(missing)
        }
    }
}

async fn stage() -> (Wire, Simulated, Running, Balancer) {
    let settings = Settings {
        latency_ms: 5,
        ..Settings::default()
    };
    let options = Options {
        settings,
        ..Options::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let chat = start(options, listener).unwrap();
    let control = chat.client().unwrap();
    let wire = Wire::to(chat.address()).await;
    let balancer = Balancer::start().await;
    let token = SecretString::from(TOKEN);
    control
        .set_callback(Some(&balancer.url()), Some(token))
        .await
        .unwrap();
    (wire, control, chat, balancer)
}

/// Where a database listens.
pub fn address_of(url: &Url) -> std::net::SocketAddr {
    let addresses = url.socket_addrs(|| Some(5432)).unwrap();
    *addresses
        .iter()
        .find(|address| address.is_ipv4())
        .unwrap_or(&addresses[0])
}

/// The marks that the rules of every show demand.
pub fn demanded(group: &str, account: &str) -> BTreeSet<u32> {
    let mut marks = BTreeSet::new();
    if account.starts_with("vip") {
        marks.extend([1000, 1001]);
    }
    if account == "teacher" {
        marks.insert(1000);
        if group == "room-1" {
            marks.insert(1002);
        }
    }
    marks
}

/// People who come and go.
pub struct Load {
    stop: CancellationToken,
    moves: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Load {
    /// Waits until so many more have come or gone.
    pub async fn more(&self, moves: usize) {
        let goal = self.moves.load(Ordering::Relaxed) + moves;
        while self.moves.load(Ordering::Relaxed) < goal {
            assert!(!self.task.is_finished(), "the load has ended");
            pause().await;
        }
    }

    /// No member moves from now on.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Out,
    Online,
    Offline,
}

struct Crowd {
    control: Simulated,
    rng: StdRng,
    rooms: Vec<String>,
    places: BTreeMap<(String, String), Place>,
}

impl Crowd {
    async fn move_about(mut self, stop: CancellationToken, moves: Arc<AtomicUsize>) {
        while !stop.is_cancelled() {
            self.move_one().await;
            moves.fetch_add(1, Ordering::Relaxed);
            // Some hundred callbacks a second at most: the machine also runs other tests.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A member arrives, or one who is there goes; the more often people are online.
    async fn move_one(&mut self) {
        let accounts = [
            "vip0", "vip1", "vip2", "vip3", "vip4", "vip5", "teacher", "guest0", "guest1",
        ];
        let (Some(room), Some(account)) = (
            self.rooms.choose(&mut self.rng).cloned(),
            accounts.choose(&mut self.rng),
        ) else {
            return;
        };
        let place = self
            .places
            .entry((room.clone(), (*account).to_owned()))
            .or_insert(Place::Out);
        let stays = self.rng.random_bool(0.5);
        let (movement, next) = match *place {
            Place::Online if stays => return,
            Place::Online if self.rng.random_bool(0.6) => ("drop", Place::Offline),
            Place::Online => ("leave", Place::Out),
            Place::Offline => ("back", Place::Online),
            Place::Out => ("join", Place::Online),
        };
        *place = next;
        let accounts = [*account];
        let control = &self.control;
        let moved = match movement {
            "drop" => control.drop_offline(&room, &accounts).await,
            "leave" => control.leave(&room, &accounts).await,
            "back" => control.come_back(&room, &accounts).await,
            _ => control.join(&room, &accounts).await,
        };
        moved.unwrap();
    }
}
