package window

import "github.com/gridloom/gridloom"

// AddOpening is addOpening, for the law that it does what the long way does.
func (c *Config) AddOpening(k gridloom.Kind, s *State, r *Reading) bool { return c.addOpening(k, s, r) }
