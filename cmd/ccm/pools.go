package main

import "github.com/spf13/cobra"

func newPoolsCommand(s *settings) *cobra.Command {
	return &cobra.Command{Use: "pools", Short: "Show pools and who has which address", Args: cobra.NoArgs}
}
