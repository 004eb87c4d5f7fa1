import HostKinds
import ResourceModel
import Testing
import Values

/// What each kind says of settings that it changed once.
struct HeldTests {
    private func kind(_ name: String) throws -> RegisteredKind { try #require(HostKinds.all.first { $0.name == name }) }

    private func resource(_ kind: String, _ resource: String, _ fields: Value) -> DesiredResource {
        DesiredResource(
            kind: kind,
            handler: kind,
            address: ResourceAddress(target: "pi-1", resource: resource),
            fields: fields,
            origins: []
        )
    }

    private func held(_ kind: String, _ resource: String, _ fields: [HeldSetting.Field]) -> HeldSetting {
        HeldSetting(address: ResourceAddress(target: "pi-1", resource: resource), kind: kind, handler: kind, fields: fields)
    }

    @Test func anInterfaceIsDeclaredFieldByField() throws {
        let kind = try kind("NetworkInterface")
        let spec = resource("NetworkInterface", "NetworkInterface/wlan0", ["interface": "wlan0", "mtu": 1400, "flags": ["up": true]])
        func declares(_ resource: String, _ path: String) -> Bool {
            kind.declares(spec, ResourceAddress(target: "pi-1", resource: resource), path)
        }
        #expect(declares("NetworkInterface/wlan0", "mtu") && declares("NetworkInterface/wlan0", "flags.up"))
        #expect(!declares("NetworkInterface/wlan0", "flags.promiscuous") && !declares("NetworkInterface/eth0", "mtu"))
        #expect(!declares("NetworkInterface/wlan0/persist", "persist"))
        var persistent = spec
        persistent.fields["persist"] = false
        #expect(kind.declares(persistent, ResourceAddress(target: "pi-1", resource: "NetworkInterface/wlan0/persist"), "persist"))
        #expect(!kind.declares(persistent, ResourceAddress(target: "pi-2", resource: "NetworkInterface/wlan0/persist"), "persist"))
    }

    @Test func anInterfaceIsLeftOrPutBack() throws {
        let kind = try kind("NetworkInterface")
        let setting = held(
            "NetworkInterface",
            "NetworkInterface/wlan0",
            [.init(path: "mtu", before: 1500, applied: 1400), .init(path: "flags.promiscuous", before: false, applied: true)]
        )
        let left = kind.relinquish(setting, false)
        #expect(left.assertions.isEmpty && left.stays == "mtu 1400, was 1500 before Plumb; flags.promiscuous true, was false before Plumb")
        let back = kind.relinquish(setting, true)
        #expect(back.stays.isEmpty)
        #expect(
            back.assertions == [
                .init(
                    resource: "NetworkInterface/wlan0",
                    fields: ["interface": "wlan0", "missing": "skip", "mtu": 1500, "flags": ["promiscuous": false]]
                )
            ]
        )
        for restores in [true, false] {
            let unit = kind.relinquish(
                held("NetworkInterface", "NetworkInterface/wlan0/persist", [.init(path: "persist", before: false, applied: true)]),
                restores
            )
            #expect(unit.stays.isEmpty)
            #expect(
                unit.assertions == [.init(resource: "NetworkInterface/wlan0", fields: ["interface": "wlan0", "missing": "skip", "persist": false])]
            )
        }
    }

    @Test func whatMakesNoSenseIsLeft() throws {
        let kind = try kind("NetworkInterface")
        for (resource, before) in [("NetworkInterface/../x", 1500), ("NetworkInterface/wlan0", 7), ("Other/wlan0", 1500)] as [(String, Value)] {
            let answer = kind.relinquish(held("NetworkInterface", resource, [.init(path: "mtu", before: before, applied: 1400)]), true)
            #expect(answer.assertions.isEmpty && !answer.stays.isEmpty, "\(resource)")
        }
    }

    @Test func aPatternSpeaksForTheChainsItMatches() throws {
        let kind = try kind("IptablesChain")
        let spec = resource(
            "IptablesChain",
            "IptablesChain/nat-OLD_*",
            ["family": "ipv4", "table": "nat", "pattern": "OLD_*", "state": "absent"]
        )
        for (chain, isDeclared) in [
            ("ipv4-nft-nat-OLD_CILIUM", true), ("ipv4-legacy-nat-OLD_X", true), ("ipv6-nft-nat-OLD_X", false), ("ipv4-nft-filter-OLD_X", false),
            ("ipv4-nft-nat-NEW", false),
        ] {
            #expect(kind.declares(spec, ResourceAddress(target: "pi-1", resource: "IptablesChain/\(chain)"), "state") == isDeclared, "\(chain)")
        }
        let chain = held("IptablesChain", "IptablesChain/ipv4-nft-nat-OLD_X", [.init(path: "state", before: "present (1 rule)", applied: "absent")])
        #expect(kind.relinquish(chain, true).stays.hasSuffix("can't be brought back") && kind.relinquish(chain, true).assertions.isEmpty)
    }

    @Test func ourUnitsAreFoundWhoeverWroteThem() {
        let output = """
            unit plumb-interface-wlan0.service
            |[Unit]
            unit plumb-interface-eth0\\x2d1.service
            unit plumb-interface-\\zz.service
            wanted sys-subsystem-net-devices-eth1.device.wants/plumb-interface-eth1.service

            """
        let facts = TargetFacts(identity: "", facts: .host(["interface-units": SectionOutput(status: 0, output: output)]))
        #expect(
            NetworkInterface.units(facts, at: "pi-1").map(\.address.description) == [
                "pi-1/NetworkInterface/eth0-1/persist", "pi-1/NetworkInterface/eth1/persist", "pi-1/NetworkInterface/wlan0/persist",
            ]
        )
        let unread = TargetFacts(identity: "", facts: .host(["interface-units": SectionOutput(status: 1, output: output)]))
        #expect(NetworkInterface.units(unread, at: "pi-1").isEmpty)
    }
}
