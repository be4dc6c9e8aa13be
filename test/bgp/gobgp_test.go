package bgp_test

func gobgpMain(string) int { return 0 }
