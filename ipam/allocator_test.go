package ipam_test

import "testing"

func TestStories(t *testing.T) {
	for name, story := range map[string]string{
		"lowest free first": `
			pools cidr-global=10.0.0.0/24
			ask shop/a         : 10.0.0.1@global
			ask shop/b         : 10.0.0.2@global
			ask shop/c         : 10.0.0.3@global
			release shop/b     :
			ask shop/d         : 10.0.0.2@global
			ask shop/e         : 10.0.0.4@global
			stats global       : IPv4 4/254`,
		"asking again gives the same": `
			pools cidr-global=10.0.0.0/24
			ask shop/a         : 10.0.0.1@global
			ask shop/a         : 10.0.0.1@global
			stats global       : IPv4 1/254`,
		"highest first": `
			pools cidr-global=10.0.0.0/23,10.9.0.4/31 search-order=desc
			ask shop/a         : 10.9.0.5@global
			ask shop/b         : 10.9.0.4@global
			ask shop/c         : 10.0.1.254@global`,
		"block ends are skipped": `
			pools range-global=10.0.0.254-10.0.1.1
			ask shop/a         : 10.0.0.254@global
			ask shop/b         : 10.0.1.1@global
			ask shop/c         : exhausted: no free IPv4 address in pool global (2 of 2 used)
			release shop/a     : wakes shop/c
			ask shop/c         : 10.0.0.254@global`,
		"block ends written alone are given": `
			pools cidr-global=10.0.0.0/30,10.0.0.255/32,10.0.1.0-10.0.1.0
			ask shop/a         : 10.0.0.1@global
			ask shop/b         : 10.0.0.2@global
			ask shop/c         : 10.0.0.3@global
			ask shop/d         : 10.0.0.255@global
			ask shop/e         : 10.0.1.0@global
			ask shop/f         : exhausted: no free IPv4 address in pool global (5 of 5 used)
			release shop/d     : wakes shop/f
			ask shop/f         : 10.0.0.255@global`,
		"block ends written alone within a prefix": `
			pools cidr-global=10.0.0.0/23,10.0.1.0/32 search-order=desc
			stats global       : IPv4 0/509
			ask shop/a want=10.0.1.0   : 10.0.1.0@global
			ask shop/b want=10.0.0.255 : not-in-pool: 10.0.0.255 is not in pool global
			release shop/a     :
			stats global       : IPv4 0/509`,
		"ends of CIDRs are left out": `
			pools cidr-global=10.0.0.8/30,10.0.0.16/31,10.0.0.18/32,fd00::/126 skip-end-ips-in-cidr=true
			ask shop/a         : 10.0.0.9@global
			ask shop/b         : 10.0.0.10@global
			ask shop/c         : 10.0.0.16@global
			ask shop/d         : 10.0.0.17@global
			ask shop/e         : 10.0.0.18@global
			ask shop/f v6      : fd00::@global
			stats global       : IPv4 5/5 IPv6 1/4`,
		"ends of ranges stay": `
			pools cidr-global=10.0.0.8-10.0.0.9 skip-end-ips-in-cidr=true
			ask shop/a         : 10.0.0.8@global
			ask shop/b         : 10.0.0.9@global`,

		"namespace pools come first": `
			pools cidr-global=10.0.0.0/24 range-shop=10.1.0.1-10.1.0.1
			ask shop/a         : 10.1.0.1@shop
			ask blog/a         : 10.0.0.1@global
			ask shop/b         : exhausted: no free IPv4 address in pool shop (1 of 1 used)
			waiting            : shop/b
			release blog/a     :
			release shop/a     : wakes shop/b
			ask shop/b         : 10.1.0.1@shop
			waiting            :`,
		"spill to global": `
			pools cidr-global=10.0.0.0/24 range-shop=10.1.0.1-10.1.0.1 spill-to-global=true
			ask shop/a         : 10.1.0.1@shop
			ask shop/b         : 10.0.0.1@global
			ask blog/a want=10.1.0.1 : not-in-pool: 10.1.0.1 is not in pool global
			ask shop/c want=10.0.0.9 : 10.0.0.9@global`,
		"legacy precedence": `
			pools cidr-global=10.0.0.0/24 range-global=10.2.0.0/24 range-shop=10.1.0.1-10.1.0.9 cidr-blog=10.3.0.0/24 range-blog=10.2.1.0/24 pool-precedence=legacy
			ask shop/a         : 10.0.0.1@global
			ask shop/b want=10.1.0.1 : not-in-pool: 10.1.0.1 is not in pool global
			ask blog/a         : 10.3.0.1@blog
			ask other/a        : 10.0.0.2@global`,
		"legacy precedence of ranges": `
			pools range-global=10.2.0.0/24 range-shop=10.1.0.1-10.1.0.9 pool-precedence=legacy
			ask shop/a         : 10.1.0.1@shop
			ask blog/a         : 10.2.0.1@global`,
		"no pool": `
			pools cidr-blog=10.0.0.0/24
			ask shop/a         : no-pool: no pool for the namespace
			ask shop/a prefer  : no-pool: no pool for the namespace
			pools cidr-global=10.0.0.0/24 : wakes shop/a
			ask shop/a         : 10.0.0.1@global`,
		"CIDRs and ranges of both families in one list": `
			pools cidr-global=10.0.0.9-10.0.0.9,fd00::5-fd00::6,10.0.0.4/31
			ask shop/a         : 10.0.0.4@global
			ask shop/b v6      : fd00::5@global
			ask shop/c require : 10.0.0.5@global fd00::6@global`,

		"single stack takes the primary family": `
			pools cidr-global=10.0.0.0/24,fd00::/64
			ask shop/a v6      : fd00::@global
			ask shop/b v4      : 10.0.0.1@global
			ask shop/c v6 v4   : fd00::1@global`,
		"single stack without a family": `
			pools cidr-global=10.0.0.1/32,fd00::/64 cidr-six=fd01::/64
			ask shop/a         : 10.0.0.1@global
			ask shop/b         : fd00::@global
			ask six/a          : fd01::@six
			release shop/a     :
			ask shop/b         : fd00::@global
			ask shop/c v4      : 10.0.0.1@global
			ask six/b v4       : wrong-family: no IPv4 address in pool six`,
		"prefer dual stack": `
			pools cidr-global=10.0.0.1/32,fd00::/127
			ask shop/a prefer       : 10.0.0.1@global fd00::@global
			ask shop/b prefer v6 v4 : fd00::1@global missing exhausted
			waiting                 :
			ask shop/c prefer       : exhausted: no free IPv4 address in pool global (1 of 1 used) exhausted: no free IPv6 address in pool global (2 of 2 used)
			release shop/a          : wakes shop/b shop/c
			ask shop/b prefer v6 v4 : fd00::1@global 10.0.0.1@global
			ask shop/c prefer       : fd00::@global missing exhausted`,
		"prefer dual stack where there is one family": `
			pools cidr-global=10.0.0.0/24
			ask shop/a prefer  : 10.0.0.1@global missing wrong-family`,
		"require dual stack": `
			pools cidr-global=10.0.0.1/32,fd00::/127
			ask shop/a require v6 v4 : fd00::@global 10.0.0.1@global
			ask shop/b require : exhausted: no free IPv4 address in pool global (1 of 1 used)
			stats global       : IPv4 1/1 IPv6 1/2
			pools cidr-global=10.0.0.1/32 : outside shop/a=fd00:: wakes shop/b
			ask shop/c require : exhausted: no free IPv4 address in pool global (1 of 1 used) wrong-family: no IPv6 address in pool global`,
		"single to dual stack and back": `
			pools cidr-global=10.0.0.0/24,fd00::/64
			ask shop/a v4         : 10.0.0.1@global
			ask shop/a require v4 : 10.0.0.1@global fd00::@global
			ask shop/a v6         : fd00::@global -10.0.0.1
			ask shop/b v4         : 10.0.0.1@global
			ask shop/a v4         : 10.0.0.2@global -fd00::
			stats global          : IPv4 2/254 IPv6 0/18446744073709551616`,

		"DHCP": `
			pools cidr-global=0.0.0.0/32 cidr-six=::/128 cidr-both=0.0.0.0/32,::/128
			ask shop/a         : 0.0.0.0@global
			ask shop/b         : 0.0.0.0@global
			ask six/a          : ::@six
			ask both/a require : 0.0.0.0@both ::@both
			ask shop/c require : wrong-family: no IPv6 address in pool global
			release shop/a     :`,
		"DHCP on request": `
			pools cidr-global=10.0.0.1/32
			ask shop/a want=0.0.0.0    : 0.0.0.0
			ask shop/b want=0.0.0.0,:: require : 0.0.0.0 ::
			ask shop/a         : 10.0.0.1@global -0.0.0.0`,
		"a pool that becomes DHCP leaves its Services alone": `
			pools cidr-global=10.0.0.1/32
			ask shop/a         : 10.0.0.1@global
			pools cidr-global=0.0.0.0/32 : outside shop/a=10.0.0.1
			ask shop/a         : 10.0.0.1
			ask shop/b         : 0.0.0.0@global
			ask shop/c want=0.0.0.0 : 0.0.0.0@global
			pools cidr-global=10.0.0.2/32 : outside shop/b=0.0.0.0
			ask shop/b         : 0.0.0.0
			ask shop/c want=0.0.0.0 : 0.0.0.0`,
	} {
		t.Run(name, func(t *testing.T) { tell(t, story) })
	}
}
