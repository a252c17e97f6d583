package edge

import "time"

// times are the time limits of connections. On connections with plain requests
// they are checked once a second.
type times struct {
	// header is for a request's header. It begins again if net/http takes the
	// connection over.
	header time.Duration
	body   time.Duration // for a request, with the body that the edge does not use
	write  time.Duration // for a response; a large one gets more
	idle   time.Duration // until the next request
	// crowded replaces idle while most of the allowed connections are open.
	crowded time.Duration
}

func defaultTimes() times {
	return times{
		header: 10 * time.Second, body: 30 * time.Second, write: writeTimeout, idle: 2 * time.Minute, crowded: 5 * time.Second,
	}
}

// writing returns the time limit for writing a response of size bytes.
func (t times) writing(size int64) time.Duration {
	if size <= int64(largeAnswer) {
		return t.write
	}
	return t.write + time.Duration(size/slowest)*time.Second
}
