package main

// NewCommand gives the tests the whole program.
var NewCommand = newCommand
