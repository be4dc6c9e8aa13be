package route

// Matters is what reads the kernel's notifications.
var Matters = matters
