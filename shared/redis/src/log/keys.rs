//! The keys of a topic.

use bond_core::topic::Topic;

/// The number of partitions of the log. Each partition has its own fence, on the same server as its topics. So a script that appends can
/// check the fence in a cluster too, and for new topics. A change of the number needs an empty Redis.
pub(super) const PARTITIONS: u8 = 16;

/// The keys of a topic, and of its partition.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) topic: String,
    pub(super) partition: u8,
    pub(super) fence: String,
    /// Where it is named: among the topics that have history, or in the index of published topics.
    pub(super) topics: String,
    pub(super) head: String,
    pub(super) log: String,
    /// For published topics: their state.
    pub(super) state: Option<String>,
}

impl Keys {
    pub(super) fn of(topic: &Topic) -> Self {
        let is_published = matches!(topic, Topic::Published(_));
        let topic = topic.to_string();
        let partition = partition(&topic);
        // A prefix of their own, so that who may read published topics need not be let at the others.
        let prefix = if is_published { published(partition) } else { format!("bond:{{{partition}}}") };
        Self {
            partition,
            fence: fence(partition),
            topics: if is_published { published(partition) } else { topics(partition) },
            head: format!("{prefix}:head:{topic}"),
            log: format!("{prefix}:log:{topic}"),
            state: is_published.then(|| format!("{prefix}:state:{topic}")),
            topic,
        }
    }

    /// The keys of scripts that write.
    pub(super) fn writing(&self) -> Vec<&str> {
        let keys = [self.fence.as_str(), &self.topics, &self.head, &self.log];
        keys.into_iter().chain(self.state.as_deref()).collect()
    }

    pub(super) const fn is_published(&self) -> bool {
        self.state.is_some()
    }

    /// Where the answer to the batch of the key `name` is kept.
    pub(super) fn key(&self, name: &str) -> String {
        format!("bond:{{{}}}:key:{}:{name}", self.partition, self.topic)
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

/// The index of a partition's published topics.
pub(super) fn published(partition: u8) -> String {
    format!("bond:{{{partition}}}:published")
}

/// Where the published topic of this name, which is in this partition, has its head.
pub(super) fn published_head(partition: u8, topic: &str) -> String {
    format!("{}:head:{topic}", published(partition))
}

/// The channel with messages about appends to a topic.
pub(super) fn channel(topic: &Topic) -> String {
    format!("{TOPIC_CHANNELS}{topic}")
}

/// The prefix of these channels.
pub(super) const TOPIC_CHANNELS: &str = "bond:topic:";

/// The channel with messages about topics that began or ended.
pub(super) const TOPICS_CHANNEL: &str = "bond:topics";
