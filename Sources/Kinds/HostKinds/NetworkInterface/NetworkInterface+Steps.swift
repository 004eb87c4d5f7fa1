import ResourceModel
import Values

extension NetworkInterface {
    static func change(_ drift: ResourceDrift) -> Change {
        guard let interface = drift.details["interface"]?.stringValue, isSafeName(interface) else { return Change(steps: []) }
        if let persist = drift.details["persist"]?.boolValue {
            guard let settings = drift.details["settings"].flatMap(Settings.init) else { return Change(steps: []) }
            let unit = Unit(interface: interface, settings: settings)
            return Change(steps: persist ? write(unit, over: drift.details) : remove(unit, drift.details))
        }
        return changeRuntime(drift, of: interface)
    }

    // MARK: Runtime

    /// One `ip link set` for each field, in the order of `Settings.arguments`.
    private static func changeRuntime(_ drift: ResourceDrift, of interface: String) -> Change {
        let mayCarryConnection = drift.details["mayCarryConnection"]?.boolValue ?? true
        var risk = Risk.none
        let steps = drift.differences.compactMap { difference -> Step? in
            guard let (desired, observed, isDisruptive) = arguments(difference) else { return nil }
            if isDisruptive { risk = mayCarryConnection ? .disconnecting : max(risk, .disruptive) }
            let command = ["ip", "link", "set", "dev", interface]
            return Step(
                .run(arguments: command + desired),
                summary: (command + desired).joined(separator: " "),
                inverse: observed.map { [.run(arguments: command + $0)] } ?? []
            )
        }
        return Change(steps: steps, risk: risk)
    }

    /// What makes it as desired, what makes it as it was, and whether traffic may stop meanwhile or after it.
    private static func arguments(_ difference: FieldDifference) -> (desired: [String], observed: [String]?, isDisruptive: Bool)? {
        if difference.path == "mtu" {
            guard let mtu = difference.desired?.intValue, mtuRange.contains(Int(mtu)) else { return nil }
            return (["mtu", String(mtu)], difference.observed?.intValue.map { ["mtu", String($0)] }, true)
        }
        guard let flag = Flag.allCases.first(where: { $0.path == difference.path }), let isOn = difference.desired?.boolValue else { return nil }
        let isDisruptive =
            switch flag {
            case .promiscuous, .allMulticast: false
            // Neighbours are found by ARP, in IPv6 by multicast: without them it fails when the caches run out.
            case .up, .arp, .multicast: !isOn
            }
        return (flag.arguments(isOn), difference.observed?.boolValue.map(flag.arguments), isDisruptive)
    }

    // MARK: Persistence

    /// Written beside its place and moved there, so that systemd never reads half a unit. `tee` takes its input whatever the connection made of it;
    /// opening `/dev/stdin`, as `install` would, fails where that is a socket.
    private static func write(_ unit: Unit, over observed: Value) -> [Step] {
        let old = observed["unit"]?.stringValue
        var steps: [Step] = []
        if old != unit.content.lines.filter({ !$0.trimmed.isEmpty }).map({ $0 + "\n" }).joined() {
            let new = "\(unit.path).plumb-new"
            let lines = unit.content.lines.joined(separator: "; ")
            steps = [
                step(["tee", new], input: unit.content, undone: [["rm", "-f", new]], note: " with the input: \(lines)"),
                step(["chmod", "0644", new]),
                Step(
                    .run(arguments: ["mv", "-f", new, unit.path]),
                    summary: "mv -f \(new) \(unit.path)",
                    inverse: [
                        old.map { .run(arguments: ["tee", unit.path], input: $0) } ?? .run(arguments: ["rm", "-f", unit.path]),
                        .run(arguments: ["systemctl", "daemon-reload"]),
                    ]
                ),
                step(["systemctl", "daemon-reload"]),
            ]
        }
        if observed["enabled"]?.boolValue != true {
            steps.append(step(["systemctl", "enable", "--quiet", unit.name], undone: [["systemctl", "disable", "--quiet", unit.name]]))
        }
        return steps
    }

    /// Only takes away what makes it come back; the interface stays as it is.
    private static func remove(_ unit: Unit, _ observed: Value) -> [Step] {
        var steps: [Step] = []
        let runsSystemd = observed["systemd"]?.boolValue == true
        if observed["enabled"]?.boolValue == true {
            let link = "\(Unit.folder)/\(unit.wantedLink)"
            steps.append(step(["rm", "-f", link], undone: [["ln", "-sf", unit.path, link]]))
        }
        if let old = observed["unit"]?.stringValue {
            steps.append(
                Step(
                    .run(arguments: ["rm", "-f", unit.path]),
                    summary: "rm -f \(unit.path)",
                    inverse: [.run(arguments: ["tee", unit.path], input: old)]
                )
            )
        }
        if runsSystemd { steps.append(step(["systemctl", "daemon-reload"], undone: [["systemctl", "daemon-reload"]])) }
        return steps
    }

    private static func step(_ arguments: [String], input: String? = nil, undone: [[String]] = [], note: String = "") -> Step {
        Step(
            .run(arguments: arguments, input: input),
            summary: arguments.joined(separator: " ") + note,
            inverse: undone.map { .run(arguments: $0) }
        )
    }
}
