package election

// SetGate makes gate be called whenever an elector made from c goes on: a test freezes the process there.
func (c *Config) SetGate(gate func()) { c.gate = gate }

// RewriteRecord parses a member record and writes it again.
func RewriteRecord(text string) (string, error) {
	r, err := parseRecord(text)
	if err != nil {
		return "", err
	}
	return r.String(), nil
}

// Score is the score of node for claim.
func Score(node, claim string) uint64 { return score(hash(node), hash(claim)) }
