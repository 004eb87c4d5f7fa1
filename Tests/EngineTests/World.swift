import Applying
import DriftDetection
import Observing
import Planning
import ResourceModel
import Synchronization
import Values
import YAML

/// A world of hosts with numbered settings, in memory: what the engine's laws are tried on.
///
/// A host's facts are lines `NAME=VALUE`; the kind `Setting` asserts a value, or that a name is absent.
final class World: Sendable {
    struct State: Sendable {
        var settings: [String: [String: Int]] = [:]
        var dead: Set<String> = []
        /// Other machines have taken their names.
        var replaced: Set<String> = []
        /// Addresses whose step reports success and changes nothing.
        var liars: Set<String> = []
        /// Addresses whose step fails.
        var broken: Set<String> = []
        /// Addresses of the steps that ran, in order.
        var log: [String] = []
    }

    let state: Mutex<State>

    init(_ state: State) { self.state = Mutex(state) }

    static let section = "settings"

    func observation(of target: Target) -> TargetObservation {
        state.withLock { state in
            if state.dead.contains(target.name) {
                return .failed(Problem(target: target.name, status: .unreachable, message: "no route to host"))
            }
            let lines = (state.settings[target.name] ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            let output = SectionOutput(status: 0, output: lines.joined(separator: "\n"))
            return .observed(
                TargetFacts(
                    identity: "\(state.replaced.contains(target.name) ? "other" : "") machine \(target.name)",
                    facts: .host([Self.section: output])
                )
            )
        }
    }

    var observer: TargetObserver { { target, _ in self.observation(of: target) } }

    var collaborators: ApplyCollaborators {
        ApplyCollaborators(
            execute: { target, action in
                self.state.withLock { state in
                    if state.dead.contains(target.name) {
                        return Problem(target: target.name, status: .unreachable, message: "connection lost")
                    }
                    state.log.append(action.address.description)
                    if state.broken.contains(action.address.description) {
                        return Problem(target: target.name, address: action.address, status: .unknown, message: "exit status 1")
                    }
                    if state.liars.contains(action.address.description) { return nil }
                    for step in action.steps {
                        guard case .run(let arguments, _) = step.operation, arguments.count == 3 else { continue }
                        state.settings[target.name, default: [:]][arguments[1]] = Int(arguments[2])
                    }
                    return nil
                }
            },
            observe: observer,
            awaitReadiness: { _, _, _, _ in nil }
        )
    }

    static let kind = RegisteredKind(
        name: "Setting",
        decode: { _ in [] },
        probe: [ProbeSection(name: section, script: "true")],
        detect: { resources, facts in
            guard case .host(let sections) = facts.facts, let output = sections[section]?.output else { return [] }
            let live = Dictionary(
                output.split(separator: "\n").map { line -> (String, Int64) in
                    let parts = line.split(separator: "=")
                    return (String(parts[0]), Int64(parts[1]) ?? 0)
                }
            ) { first, _ in first }
            return resources.map { drift(of: $0, live: live) }
        },
        change: { drift in
            let name = String(drift.address.resource.split(separator: "/")[1])
            let value = drift.differences.first?.desired?.description ?? "absent"
            return Change(steps: [Step(.run(arguments: ["set", name, value]), summary: "set \(name) \(value)")])
        }
    )

    private static func drift(of resource: DesiredResource, live: [String: Int64]) -> ResourceDrift {
        let name = String(resource.address.resource.split(separator: "/")[1])
        let observed = live[name].map(Value.int)
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

    static func host(_ name: String, availability: Host.Availability = .always) -> Target {
        .host(Host(name: name, address: name, availability: availability, position: SourcePosition(file: "hosts.yaml", line: 1, column: 1)))
    }

    static func setting(_ address: String, _ value: Int?, dependsOn: [String] = [], line: Int) -> DesiredResource {
        DesiredResource(
            kind: "Setting",
            handler: "Setting",
            address: self.address(address),
            fields: value.map { ["value": .int(Int64($0))] } ?? [:],
            dependsOn: dependsOn.map(self.address),
            origins: [SourcePosition(file: "specs.yaml", line: line, column: 1)]
        )
    }

    static func address(_ text: String) -> ResourceAddress {
        let parts = text.split(separator: "/", maxSplits: 1)
        return ResourceAddress(target: String(parts[0]), resource: String(parts[1]))
    }
}
