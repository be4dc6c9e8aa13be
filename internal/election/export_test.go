package election

// SetGate makes gate be called whenever an elector made from c goes on: a test freezes the process there.
func (c *Config) SetGate(gate func()) { c.gate = gate }

// SetMissed makes every claim that [Members] leave alone be looked at all the same, and missed be told of those that should
// not have been.
func (c *Config) SetMissed(missed func(claim string)) { c.missed = missed }

// RewriteRecord parses a member record and writes it again.
func RewriteRecord(text string) (string, error) {
	r, err := parseRecord(text)
	if err != nil {
		return "", err
	}
	return r.String(), nil
}

// Mix is what the score of node for claim is made of.
func Mix(node, claim string) uint64 { return mix(hash(node), hash(claim)) }

// Score is the score of node for claim under a weight.
func Score(node, claim string, weight uint32) float64 { return score(hash(node), hash(claim), weight) }
