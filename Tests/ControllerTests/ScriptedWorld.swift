import Applying
import Controller
import Foundation
import Logging
import Observing
import Planning
import ResourceModel
import Synchronization
import Values
import YAML

/// A world in memory for the controller: hosts with numbered settings, a source with revisions, and what the controller was asked.
final class ScriptedWorld: Sendable {
    struct State {
        var settings: [String: [String: Int64]] = [:]
        /// Give no answer, after this long.
        var dead: [String: Duration] = [:]
        /// Say themselves that they are paused.
        var paused: Set<String> = []
        var source: Fetched = .failed("nothing there yet")
        /// Looks at a target: whole ones and parts.
        var wholes: [String: Int] = [:]
        var parts: [String: Int] = [:]
        var underWay: Set<String> = []
        /// Two passes at once at one target: the law that was broken.
        var collisions = 0
        var tellers: [String: @Sendable (TargetEvent) -> Void] = [:]
        var changes: [String] = []
        var isSlow = false
        var remember: @Sendable (ControllerMemory) async -> Void = { _ in }
    }

    let state = Mutex(State())

    static let kind = RegisteredKind(
        name: "Setting",
        decode: { _ in [] },
        probe: [],
        detect: { resources, facts in
            guard case .host(let sections) = facts.facts else { return [] }
            return resources.map { resource in
                let name = String(resource.address.resource.split(separator: "/")[1])
                let observed = sections[name].flatMap { Int64($0.output) }.map(Value.int)
                let desired = resource.fields["value"]
                return ResourceDrift(
                    address: resource.address,
                    kind: resource.kind,
                    handler: resource.handler,
                    standing: observed == desired ? .inSync : .differs,
                    differences: observed == desired ? [] : [FieldDifference(path: "value", observed: observed, desired: desired)],
                    fingerprint: observed ?? .null,
                    dependsOn: resource.dependsOn,
                    origins: resource.origins
                )
            }
        },
        change: { drift in
            Change(steps: [Step(.run(arguments: ["set", drift.address.resource]), summary: "set")])
        },
        settle: { $0.resource.hasSuffix("/hourly") ? .seconds(3600) : $0.resource.hasSuffix("/lasting") ? .milliseconds(200) : .zero }
    )

    var collaborators: ControllerCollaborators {
        ControllerCollaborators(
            fetch: { known, _ in
                let fetched = self.state.withLock { $0.source }
                if case .loaded(let revision) = fetched, revision.commit == known?.commit { return .unchanged }
                return fetched
            },
            observe: { target, _ in
                self.state.withLock { $0.wholes[target.name, default: 0] += 1 }
                return await self.look(target)
            },
            observePart: { target, _ in
                self.state.withLock { $0.parts[target.name, default: 0] += 1 }
                return .observed(await self.look(target))
            },
            remember: { await self.state.withLock { $0.remember }($0) },
            follow: { target, _, tell in
                self.state.withLock { $0.tellers[target.name] = tell }
                tell(.connected)
                while !Task.isCancelled { try? await Task.sleep(for: .seconds(60)) }
            },
            apply: { plan, desired, isInterrupted, report in
                await Applying.apply(
                    plan,
                    desired: desired,
                    kinds: [Self.kind],
                    collaborators: ApplyCollaborators(
                        execute: { target, action in
                            self.state.withLock { state in
                                guard let wanted = action.fields.first?.desired?.intValue else { return }
                                state.settings[target.name, default: [:]][String(action.address.resource.split(separator: "/")[1])] = wanted
                                state.changes.append(action.address.description)
                            }
                            return nil
                        },
                        observe: { target, _ in await self.look(target) },
                        awaitReadiness: { _, _, _, _ in nil }
                    ),
                    options: ApplyOptions(concurrency: 1, isInterrupted: isInterrupted),
                    report: report
                )
            },
            kinds: [Self.kind]
        )
    }

    private func look(_ target: Target) async -> TargetObservation {
        let (delay, isSlow) = state.withLock { state in
            if !state.underWay.insert(target.name).inserted { state.collisions += 1 }
            return (state.dead[target.name], state.isSlow)
        }
        defer { state.withLock { _ = $0.underWay.remove(target.name) } }
        if let delay {
            try? await Task.sleep(for: delay)
            return .failed(Problem(target: target.name, status: .unreachable, message: "no route to host"))
        }
        if isSlow { try? await Task.sleep(for: .milliseconds(Int.random(in: 0...5))) }
        let (settings, isPaused) = state.withLock { ($0.settings[target.name] ?? [:], $0.paused.contains(target.name)) }
        var facts = TargetFacts(identity: "machine \(target.name)", facts: .host(settings.mapValues { SectionOutput(status: 0, output: "\($0)") }))
        if isPaused { facts.pauses = [Pause(.target(target.name), reason: "by file", origin: .host)] }
        return .observed(facts)
    }

    func tell(_ target: String, _ event: TargetEvent) { state.withLock { $0.tellers[target] }?(event) }

    /// Somebody changes something, and the host says so.
    func change(_ target: String, _ name: String, to value: Int64) {
        state.withLock { $0.settings[target, default: [:]][name] = value }
        tell(target, .touched([ResourceAddress(target: target, resource: "Setting/\(name)")]))
    }

    /// - Parameter settings: `pi-1/mtu` to value.
    func push(_ commit: String, _ settings: KeyValuePairs<String, Int64>, dependencies: [String: String] = [:]) {
        var names: Set<String> = []
        let resources = settings.enumerated().map { index, setting in
            let address = Self.address(setting.key)
            names.insert(address.target)
            return DesiredResource(
                kind: "Setting",
                handler: "Setting",
                address: address,
                fields: ["value": .int(setting.value)],
                dependsOn: dependencies[setting.key].map { [Self.address($0)] } ?? [],
                origins: [SourcePosition(file: "specs.yaml", line: index + 1, column: 1)]
            )
        }
        let hosts = names.sorted().map { name in
            Target.host(Host(name: name, address: name, position: SourcePosition(file: "hosts.yaml", line: 1, column: 1)))
        }
        let desired = DesiredState(targets: hosts, resources: resources.sorted { $0.address < $1.address }, contentHash: commit)
        state.withLock { $0.source = .loaded(Revision(commit: commit, ref: "refs/heads/main", desired: desired)) }
    }

    static func address(_ text: String) -> ResourceAddress {
        let parts = text.split(separator: "/", maxSplits: 1)
        return ResourceAddress(target: String(parts[0]), resource: "Setting/\(parts[1])")
    }

    /// Runs a controller over this world for as long as `body` takes.
    func run(_ configuration: Configuration = Configuration(), _ body: (Controller) async throws -> Void) async rethrows {
        var configuration = configuration
        configuration.source.url = "test"
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let controller = Controller(configuration, collaborators: collaborators, metrics: Metrics(), log: log, version: "test")
        let running = Task { await controller.run() }
        do {
            try await body(controller)
        } catch {
            await controller.stop()
            running.cancel()
            throw error
        }
        await controller.stop()
        running.cancel()
        await running.value
    }
}

/// Waits until something is so; the limit only ends a test that has failed.
func eventually(_ what: () async -> Bool) async -> Bool {
    let end = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < end {
        if await what() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}
