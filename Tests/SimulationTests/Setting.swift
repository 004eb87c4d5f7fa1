import ResourceModel
import Values
import YAML

/// The one kind of the simulated hosts: a numbered setting that has a value, or is absent. `link` can cut the connection.
enum Setting {
    static let section = "settings"

    static let kind = RegisteredKind(
        name: "Setting",
        decode: { _ in [] },
        probe: [ProbeSection(name: section, script: "true")],
        detect: { resources, facts in
            guard case .host(let sections) = facts.facts, let output = sections[section] else { return [] }
            guard output.status == 0 else {
                return resources.map {
                    ResourceDrift(address: $0.address, kind: $0.kind, handler: $0.handler, standing: .problem(.unknown, "the settings can't be read"))
                }
            }
            let live = Dictionary(
                output.output.split(separator: "\n").map { line -> (String, Int64) in
                    let parts = line.split(separator: "=")
                    return (String(parts[0]), Int64(parts[1]) ?? 0)
                }
            ) { first, _ in first }
            return resources.map { drift(of: $0, live: live) }
        },
        change: { drift in
            let name = name(of: drift.address)
            let value = drift.differences.first?.desired
            let step = Step(
                set(name, value),
                summary: "set \(name) \(value?.description ?? "absent")",
                inverse: [set(name, drift.differences.first?.observed)]
            )
            return Change(steps: [step], risk: name == SimulatedHosts.link ? .disconnecting : .none)
        }
    )

    static func name(of address: ResourceAddress) -> String { String(address.resource.drop { $0 != "/" }.dropFirst()) }

    private static func set(_ name: String, _ value: Value?) -> Step.Operation {
        .run(arguments: ["set", name, value?.description ?? "absent"])
    }

    static func assignment(_ operation: Step.Operation) -> (String, Int?)? {
        guard case .run(let arguments, _) = operation, arguments.count == 3 else { return nil }
        return (arguments[1], Int(arguments[2]))
    }

    private static func drift(of resource: DesiredResource, live: [String: Int64]) -> ResourceDrift {
        let observed = live[name(of: resource.address)].map(Value.int)
        let desired = resource.fields["value"]
        let standing: ResourceDrift.Standing =
            switch (observed, desired) {
            case (nil, nil): .inSync
            case (nil, _?): .missing
            case (_?, nil): .surplus
            case (let a?, let b?): a == b ? .inSync : .differs
            }
        return ResourceDrift(
            address: resource.address,
            kind: resource.kind,
            handler: resource.handler,
            standing: standing,
            differences: standing == .inSync ? [] : [FieldDifference(path: "value", observed: observed, desired: desired)],
            fingerprint: observed ?? .null,
            dependsOn: resource.dependsOn,
            origins: resource.origins
        )
    }

    static func declared(_ host: String, _ setting: String, _ value: Int?, dependsOn: [ResourceAddress], line: Int) -> DesiredResource {
        DesiredResource(
            kind: "Setting",
            handler: "Setting",
            address: ResourceAddress(target: host, resource: "Setting/\(setting)"),
            fields: value.map { ["value": .int(Int64($0))] } ?? [:],
            dependsOn: dependsOn,
            origins: [SourcePosition(file: "specs.yaml", line: line, column: 1)]
        )
    }

    static func cluster(_ name: String) -> Target {
        .cluster(Cluster(name: name, position: SourcePosition(file: "hosts.yaml", line: 1, column: 1)))
    }

    static func host(_ name: String) -> Target {
        .host(Host(name: name, address: name, position: SourcePosition(file: "hosts.yaml", line: 1, column: 1)))
    }
}
