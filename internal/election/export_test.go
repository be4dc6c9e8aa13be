package election

// SetGate makes gate be called whenever an elector made from c goes on: a test freezes the process there.
func (c *Config) SetGate(gate func()) { c.gate = gate }
