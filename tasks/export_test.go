package tasks

import "time"

const WakeChannel = wakeChannel

// SetMaxWait sets how long a server waits for a task that it was not woken for.
func (w *Waiter) SetMaxWait(d time.Duration) { w.max = d }
