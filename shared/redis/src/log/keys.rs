//! Which keys a topic has.

use bond_core::topic::Topic;

/// How many parts the log has. Each has its own fence beside its topics, so that a script that appends to one can check it even where a
/// cluster keeps parts on different servers, and where the topic is new. Another number needs an empty Redis.
pub(super) const PARTITIONS: u8 = 16;

/// The keys of a topic, and of its partition.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) topic: String,
    pub(super) fence: String,
    pub(super) topics: String,
    pub(super) head: String,
    pub(super) log: String,
}

impl Keys {
    pub(super) fn of(topic: &Topic) -> Self {
        let topic = topic.to_string();
        let partition = partition(&topic);
        Self {
            fence: fence(partition),
            topics: topics(partition),
            head: format!("bond:{{{partition}}}:head:{topic}"),
            log: format!("bond:{{{partition}}}:log:{topic}"),
            topic,
        }
    }

    /// The keys of scripts that write.
    pub(super) fn writing(&self) -> [&str; 4] {
        [&self.fence, &self.topics, &self.head, &self.log]
    }

    /// The keys of scripts that read.
    pub(super) fn reading(&self) -> [&str; 2] {
        [&self.head, &self.log]
    }
}

/// FNV-1a of the topic's name, so that every process agrees whatever it was built with.
fn partition(topic: &str) -> u8 {
    let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // Less than PARTITIONS, and so within 8 bits.
    ((hash >> 32) % u64::from(PARTITIONS)) as u8
}

pub(super) fn fence(partition: u8) -> String {
    format!("bond:{{{partition}}}:fence")
}

pub(super) fn topics(partition: u8) -> String {
    format!("bond:{{{partition}}}:topics")
}

/// Where it is said that a topic was appended to.
pub(super) fn channel(topic: &Topic) -> String {
    format!("{TOPIC_CHANNELS}{topic}")
}

/// What the names of these channels begin with.
pub(super) const TOPIC_CHANNELS: &str = "bond:topic:";

/// Where it is said that topics began or ended.
pub(super) const TOPICS_CHANNEL: &str = "bond:topics";
