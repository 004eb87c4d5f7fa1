import HostKinds
import ResourceModel
import Testing
import Values
import YAML

/// Which sudo rights come of which specs.
struct SudoRightsTests {
    private func resource(_ kind: String, _ resource: String, _ fields: Value) -> DesiredResource {
        DesiredResource(kind: kind, handler: kind, address: ResourceAddress(target: "pi-1", resource: resource), fields: fields, origins: [])
    }

    private func interface(_ name: String, _ fields: Value) -> DesiredResource {
        var fields = fields
        fields["interface"] = .string(name)
        return resource("NetworkInterface", "NetworkInterface/\(name)", fields)
    }

    private func chain(_ family: String, references: String = "keep") -> DesiredResource {
        resource(
            "IptablesChain",
            "IptablesChain/nat-OLD_A",
            ["family": .string(family), "table": "nat", "pattern": "OLD_A", "state": "absent", "references": .string(references)]
        )
    }

    private func commands(_ resources: [DesiredResource], canUndo: Bool = false) -> [String] {
        SudoRights(of: resources, user: "pi", holding: ["/usr/bin/flock x"], canUndo: canUndo).lines.map {
            String($0.text.dropFirst("pi ALL=(root) NOPASSWD: ".count))
        }
    }

    @Test func `An interface needs what sets the declared fields, and nothing that sets them otherwise`() {
        #expect(
            commands([interface("wlan0", ["flags": ["promiscuous": true, "up": true], "mtu": 1400])]) == [
                "/usr/bin/flock x", "/usr/sbin/ip link set dev wlan0 mtu 1400", "/usr/sbin/ip link set dev wlan0 promisc on",
                "/usr/sbin/ip link set dev wlan0 up",
            ]
        )
    }

    @Test func `Persistence needs its unit, and says what that means`() {
        let unit = "/etc/systemd/system/plumb-interface-wlan0.service"
        let on = SudoRights(
            of: [interface("wlan0", ["flags": ["promiscuous": true], "persist": true])],
            user: "pi",
            holding: [],
            canUndo: false
        )
        #expect(
            on.lines.map(\.text).dropFirst().map { $0.dropFirst("pi ALL=(root) NOPASSWD: ".count) } == [
                "/usr/bin/tee \(unit).plumb-new", "/usr/bin/chmod 0644 \(unit).plumb-new", "/usr/bin/mv -f \(unit).plumb-new \(unit)",
                "/usr/bin/systemctl daemon-reload", "/usr/bin/systemctl enable --quiet plumb-interface-wlan0.service",
            ]
        )
        #expect(on.notes.contains { $0.contains("as much as all of root's rights") })
        #expect(
            commands([interface("wlan0", ["persist": false])]).dropFirst() == [
                "/usr/bin/rm -f /etc/systemd/system/sys-subsystem-net-devices-wlan0.device.wants/plumb-interface-wlan0.service",
                "/usr/bin/rm -f \(unit)",
                "/usr/bin/systemctl daemon-reload",
            ]
        )
    }

    @Test func `A name is compared as it is, whatever sudo makes of its characters`() {
        let commands = commands([interface("a-b:1", ["mtu": 1400, "persist": true])])
        #expect(commands.contains(#"/usr/sbin/ip link set dev a-b\:1 mtu 1400"#))
        // Once for sudoers, once for the pattern that sudo takes it for.
        #expect(commands.contains(#"/usr/bin/systemctl enable --quiet plumb-interface-a\\\\x2db\:1.service"#))
    }

    @Test func `Chains need both backends of the declared families, exactly`() {
        #expect(
            commands([chain("ipv6"), chain("ipv6")]) == [
                "/usr/bin/flock x", #"/usr/sbin/ip6tables-nft-save """#, "/usr/sbin/ip6tables-nft-restore -w 5 --noflush",
                #"/usr/sbin/ip6tables-legacy-save """#, "/usr/sbin/ip6tables-legacy-restore -w 5 --noflush", "/usr/sbin/nft monitor",
            ]
        )
    }

    @Test func `What may cut the connection is left out unless it is asked for`() {
        let resources = [interface("eth0", ["mtu": 1400, "flags": ["arp": false]]), chain("ipv4", references: "remove")]
        let without = SudoRights(of: resources, user: "pi", holding: [], canUndo: false)
        #expect(!without.lines.contains { $0.text.contains("plumb-undo") })
        let named = "NetworkInterface/eth0 mtu, NetworkInterface/eth0 flags.arp: false, IptablesChain/nat-OLD_A references: remove"
        #expect(without.notes.contains { $0.contains(named) && $0.contains("--allow-undo") })
        let with = SudoRights(of: resources, user: "pi", holding: [], canUndo: true)
        #expect(with.lines.last?.text == "pi ALL=(root) NOPASSWD: /bin/sh -s plumb-undo")
        #expect(with.notes.contains { $0.contains("all of root's rights") })
    }

    @Test func `Whoever was refused is given the line`() {
        let line = SudoRights.line(for: ["ip", "link", "set", "dev", "wlan0", "promisc", "on"], user: "pi")
        #expect(line == "pi ALL=(root) NOPASSWD: /usr/sbin/ip link set dev wlan0 promisc on")
    }
}
