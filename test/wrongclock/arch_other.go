//go:build !amd64

package wrongclock

import "errors"

const auditArch, firstCall = 0, 0x7fffffff

// Possible says why this does not work here, nil where it does.
func Possible() error { return errors.New("a wrong clock is only made on amd64 so far") }
