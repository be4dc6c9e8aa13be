package faults_test

import "testing"

// services are the faults of 200 addresses that are spread over the nodes.
func (b *bed) services(t *testing.T, tb *table) {}
