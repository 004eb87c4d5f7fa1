package import ResourceModel
import Values

extension NetworkInterface {
    package static let probe: [ProbeSection] = [
        // Flags, MTU, promiscuity, masters and addresses at once; needs no root.
        ProbeSection(name: "links", script: "LC_ALL=C ip -j -d addr show"),
        // Our units by their files alone, so that it works where systemd does not run. Their lines are marked, since they may hold anything.
        ProbeSection(
            name: "interface-units",
            script: """
                failed=0
                for file in \(Unit.folder)/\(Unit.prefix)*.service; do
                    if [ -e "$file" ] || [ -L "$file" ]; then
                        printf 'unit %s\\n' "${file##*/}"
                        sed 's/^/|/' "$file" || failed=1
                        echo
                    fi
                done
                for file in \(Unit.folder)/*.wants/\(Unit.prefix)*.service; do
                    if [ -L "$file" ]; then printf 'wanted %s\\n' "${file#\(Unit.folder)/}"; fi
                done
                (exit "$failed")
                """
        ),
    ]

    struct Link: Hashable {
        var name: String
        var flags: Set<String>
        /// Bytes.
        var mtu: Int
        /// The limits of the driver in bytes; nil or 0: none is known.
        var leastMTU: Int?
        var mostMTU: Int?
        /// How many users want it promiscuous; the flag is one of them. nil: this `ip` does not say.
        var promiscuity: Int?
        /// The same for all multicast.
        var allMulticast: Int?
        /// The bridge, bond or VRF that it belongs to.
        var master: String?
        /// What it stands on: a VLAN's interface. For a veth this is its peer.
        var lower: String?
        /// `vlan`, `bridge`, `veth`, …; nil for hardware.
        var kind: String?
        /// `ether`, `loopback`, `none`, …
        var type: String?
        var addresses: [String]

        func isOn(_ flag: Flag) -> Bool {
            switch flag {
            case .up: flags.contains("UP")
            case .promiscuous: flags.contains("PROMISC")
            case .allMulticast: flags.contains("ALLMULTI")
            case .multicast: flags.contains("MULTICAST")
            case .arp: !flags.contains("NOARP")
            }
        }

        /// How many users there are besides the flag.
        func otherUsers(of flag: Flag) -> Int {
            let users = flag == .promiscuous ? promiscuity : flag == .allMulticast ? allMulticast : nil
            return max(0, (users ?? 0) - (isOn(flag) ? 1 : 0))
        }
    }

    /// What `ip -j -d addr show` printed.
    static func links(in facts: HostFacts) throws(HostFacts.Unreadable) -> [Link] {
        if let section = facts.section("links"), section.status != 0, isNotFound(section) {
            throw .init("'ip' is not installed, so no interface can be seen: install iproute2")
        }
        let text = try facts.output(of: "links")
        guard let value = try? Value(json: text.utf8), let elements = value.arrayValue else {
            throw .init("'ip -j addr show' printed something other than JSON: '\(HostFacts.firstLine(text))'; it needs iproute2 4.14 or later")
        }
        var links: [Link] = []
        for element in elements {
            // Some versions print `{}` for what a filter left out.
            if element.objectValue?.isEmpty == true { continue }
            guard let link = link(element) else {
                throw .init("'ip -j addr show' printed an interface without name, flags or mtu: '\(HostFacts.firstLine(element.canonicalJSON))'")
            }
            links.append(link)
        }
        // There is always `lo`, even in an empty namespace.
        if links.isEmpty { throw .init("'ip -j addr show' printed no interface at all") }
        return links
    }

    private static func isNotFound(_ section: SectionOutput) -> Bool {
        section.status == 127 || section.errorOutput.contains("ip: not found") || section.errorOutput.contains("ip: command not found")
    }

    private static func link(_ value: Value) -> Link? {
        guard let name = value["ifname"]?.stringValue, let flags = value["flags"]?.arrayValue, let mtu = value["mtu"]?.intValue else { return nil }
        return Link(
            name: name,
            flags: Set(flags.compactMap(\.stringValue)),
            mtu: Int(mtu),
            leastMTU: value["min_mtu"]?.intValue.map { Int($0) },
            mostMTU: value["max_mtu"]?.intValue.map { Int($0) },
            promiscuity: value["promiscuity"]?.intValue.map { Int($0) },
            allMulticast: value["allmulti"]?.intValue.map { Int($0) },
            master: value["master"]?.stringValue,
            lower: value["link"]?.stringValue,
            kind: value[path: "linkinfo", "info_kind"]?.stringValue,
            type: value["link_type"]?.stringValue,
            addresses: (value["addr_info"]?.arrayValue ?? []).compactMap { $0["local"]?.stringValue }
        )
    }

    /// The interfaces that carry our own connection: the one with the address that sshd was reached at, what it stands on, and what it belongs to.
    /// nil: it can't be told (not over SSH, an address of `lo`, a tunnel), so any of them may.
    static func carriers(of links: [Link], facts: HostFacts) -> Set<String>? {
        let words = ((try? facts.output(of: "ssh-connection")) ?? "").split(whereSeparator: \.isWhitespace)
        guard words.count == 4 else { return nil }
        var address = String(words[2])
        if let zone = address.firstIndex(of: "%") { address = String(address[..<zone]) }
        if address.hasPrefix("::ffff:") { address = String(address.dropFirst("::ffff:".count)) }
        let owners = links.filter { $0.addresses.contains(address) }
        if owners.isEmpty { return nil }
        var carriers: Set<String> = []
        var waiting = owners
        while let link = waiting.popLast() {
            guard carriers.insert(link.name).inserted else { continue }
            let parts = links.filter { $0.master == link.name }
            let lower = link.kind == "veth" ? [] : links.filter { $0.name == link.lower }
            // Without hardware below we can't see what the packets go through.
            let standsAlone = link.type != "ether" || ["dummy", "bridge", "bond", "team", "vrf"].contains(link.kind ?? "")
            if standsAlone, parts.isEmpty, lower.isEmpty { return nil }
            waiting += parts + lower
        }
        for owner in owners { if let master = owner.master { carriers.insert(master) } }
        return carriers
    }
}
