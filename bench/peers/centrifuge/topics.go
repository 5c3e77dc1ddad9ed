package main

import (
	"fmt"
	"log"
	"time"

	"github.com/centrifugal/centrifuge"
)

// As many events as a topic of Bond keeps at least.
const history = 100

// publishToTopics publishes in turn to the channels that the pattern makes of 0 to below topics, so many events a second in all. Events carry
// the time in milliseconds, and have numbers, as those of Bond have.
func publishToTopics(node *centrifuge.Node, pattern string, topics, rate, seconds int64) int64 {
	start := time.Now()
	for number := int64(0); number < rate*seconds; number++ {
		due := time.Duration(number * int64(time.Second) / rate)
		if wait := due - time.Since(start); wait > 0 {
			time.Sleep(wait)
		}
		topic := fmt.Sprintf(pattern, number%topics)
		data := fmt.Sprintf(`{"t":%.3f,"bid":%d.25}`, float64(time.Now().UnixMicro())/1000, number)
		kept := centrifuge.WithHistory(history, time.Minute)
		if _, err := node.Publish(topic, []byte(data), kept); err != nil {
			log.Fatal(err)
		}
	}
	return rate * seconds
}
