package vip

import "errors"

// AddressError is what went wrong with one address of a set. A room that fails for some of a set joins one for each
// ([errors.Join]), so that it is known which.
type AddressError struct {
	Key Key
	Err error // names the address, for people
}

// Error returns Err's text.
func (e *AddressError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *AddressError) Unwrap() error { return e.Err }

// ErrorFor returns the part of err that is about the address of this key, or err itself where none is.
func ErrorFor(err error, key Key) error {
	if part := errorFor(err, key); part != nil {
		return part
	}
	return err
}

func errorFor(err error, key Key) error {
	switch e := err.(type) {
	case *AddressError:
		if e.Key == key {
			return e
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if part := errorFor(inner, key); part != nil {
				return part
			}
		}
	default:
		if inner := errors.Unwrap(err); inner != nil {
			return errorFor(inner, key)
		}
	}
	return nil
}
