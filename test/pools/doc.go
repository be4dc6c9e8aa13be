// Package pools tests the ccm as a program against a real API server: addresses from pools under load, crashes, freezes and errors.
package pools
