package edge

import (
	"sync"
	"time"
)

// circuit opens after repeated transient failures and lets one attempt through after a rest
// that doubles. It asks the given clock, so that virtual time can drive it; gobreaker reads the wall.
type circuit struct {
	mu       sync.Mutex
	failures int
	rest     time.Duration
}

const (
	tolerated = 5
	shortRest = 5 * time.Second
	longRest  = 5 * time.Minute
)

// failed counts one failure and gives the rest to take; zero: none yet.
func (c *circuit) failed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures++
	if c.failures < tolerated {
		return 0
	}
	c.rest = min(max(shortRest, 2*c.rest), longRest)
	return c.rest
}

// worked closes the circuit.
func (c *circuit) worked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures, c.rest = 0, 0
}
