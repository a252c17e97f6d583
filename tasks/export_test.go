package tasks

import "time"

const WakeChannel = wakeChannel

// SetTimes sets the time between two looks of a Waiter into Redis, and the time
// in which a handler gets a task that was taken.
func (w *Waiter) SetTimes(every, begin time.Duration) { w.every, w.begin = every, begin }

// Failed reports whether the last look failed.
func (w *Waiter) Failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// Hear passes one message on, as if it came from Redis.
func (w *Waiter) Hear(message string) { w.hear(message) }
