//! The keys of a topic.

use bond_core::topic::Topic;

/// The number of partitions of the log. Each partition has its own fence, on the same server as its topics. So a script that appends can
/// check the fence in a cluster too, and for new topics. A change of the number needs an empty Redis.
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

/// The partition of a topic, by FNV-1a of its name. The hash is fixed, so that all processes agree, whatever they were built with.
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

/// The channel with messages about appends to a topic.
pub(super) fn channel(topic: &Topic) -> String {
    format!("{TOPIC_CHANNELS}{topic}")
}

/// The prefix of these channels.
pub(super) const TOPIC_CHANNELS: &str = "bond:topic:";

/// The channel with messages about topics that began or ended.
pub(super) const TOPICS_CHANNEL: &str = "bond:topics";
