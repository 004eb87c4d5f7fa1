import Applying
import ClusterKinds
import Foundation
import HostKinds
import Hosts
import Kubernetes
import KubernetesAPI
import Observing
import Planning
import ResourceModel
import SpecSources
import Synchronization

/// The one place where the drivers meet the engine: it turns the engine's questions into what hosts and API servers are asked, and back.
final class Composition: Sendable {
    let hosts: HostPool
    /// Who the targets are, and what was changed on hosts.
    let inventory = HostInventory()
    private let kubeconfig: String?
    private let context: String?
    private let timeout: Duration
    /// `--confirm-timeout`; nil: this run changes nothing.
    private let confirmTimeout: Duration?
    /// Told what a server answers to each request of a change.
    let onAnswer: (@Sendable (APIResponse, Step.Request, ResourceAddress) -> Void)?
    /// Says on stderr what is being waited for.
    let tell: @Sendable (String) -> Void
    private let clusters = Mutex<[String: ClusterConnection]>([:])
    let inventories: ClusterInventories
    /// What keeps others from changing the same targets; unused by a run that changes nothing.
    let locks: TargetLocks

    init(
        options: SharedOptions,
        source: SourceIdentity,
        confirmTimeout: Duration? = nil,
        locks: TargetLocks = TargetLocks(),
        keepsCaches: Bool = true,
        tell: @escaping @Sendable (String) -> Void = { _ in },
        onAnswer: (@Sendable (APIResponse, Step.Request, ResourceAddress) -> Void)? = nil
    ) {
        inventories = ClusterInventories(source: source)
        self.confirmTimeout = confirmTimeout
        self.locks = locks
        self.onAnswer = onAnswer
        self.tell = tell
        var pool = HostPoolOptions()
        pool.identityFile = options.identity
        pool.knownHostsFile = options.knownHosts
        pool.sshConfigFile = options.sshConfig
        pool.connectTimeout = min(options.timeout.value, pool.connectTimeout)
        pool.probeTimeout = options.timeout.value
        if keepsCaches { pool.cacheDirectory = options.dataDirectoryPath.map { "\($0)/ssh-config" } }
        pool.askPassphrase = { Terminal.askSecret($0) }
        hosts = HostPool(options: pool)
        kubeconfig = options.kubeconfig
        context = options.context
        timeout = options.timeout.value
    }

    func close() async {
        await hosts.close()
        for connection in clusters.withLock({ $0 }).values { await connection.close() }
    }

    /// Asks one target; what goes wrong is a value, and so is that it is not the one it was.
    func observe(_ target: Target, _ resources: [DesiredResource]) async -> TargetObservation {
        let checked = inventory.checked(await observeAnyone(target, resources), of: target)
        // Nothing is written into another cluster than it was, not even what its own inventory lacks.
        if case .failed = checked, case .cluster(let cluster) = target { inventories.forgetChanges(of: cluster) }
        return checked
    }

    /// The same for a part of what is declared at a host, with nothing read that only other kinds need.
    func observePart(of host: ResourceModel.Host, kinds: Set<String>) async -> TargetObservation {
        inventory.checked(await observe(host, asking: HostKinds.probe(of: kinds)), of: .host(host))
    }

    /// The same, whoever answers.
    func observeAnyone(_ target: Target, _ resources: [DesiredResource]) async -> TargetObservation {
        switch target {
        case .host(let host): await observe(host, asking: HostKinds.probe)
        case .cluster(let cluster): await observe(cluster, resources, inventory: .read(inventories.id(of: cluster)))
        }
    }

    private func observe(_ host: ResourceModel.Host, asking probe: [ProbeSection]) async -> TargetObservation {
        let sections = probe.map { HostSection(name: $0.name, script: $0.script) }
        // First, so that what the others say is what came of an undo that is over.
        let all = [HostPool.undoSection, hosts.holdSection, HostPool.pauseSection] + sections
        do throws(HostFailure) {
            var answer = try await hosts.probe(HostLogin(host), sections: all)
            var notes = answer.notes
            if confirmTimeout == nil || inventory.isStranger(.host(host), as: Self.identity(answer)) {
                // Of another machine even what is armed there is nobody's business.
                notes += self.notes(onUndosIn: answer, of: host) + self.notes(onHolderIn: answer, of: host)
            } else {
                let hasWaited = try await awaitOthers(answer, of: host)
                if hasWaited { answer = try await hosts.probe(HostLogin(host), sections: all) }
                let settled = try await settleUndos(answer, of: host)
                if !settled.isEmpty { answer = try await hosts.probe(HostLogin(host), sections: all) }
                notes += settled
                locks.saw(HostPool.mark(in: answer), of: host.name)
            }
            let facts = answer.sections.mapValues { SectionOutput(status: $0.status, output: $0.output, errorOutput: $0.errorOutput) }
            var found = TargetFacts(identity: Self.identity(answer), facts: .host(facts), notes: notes)
            if let reason = hosts.pauseReason(in: answer) { found.pauses = [Pause(.target(host.name), reason: reason, origin: .host)] }
            return .observed(found)
        } catch {
            return .failed(error.problem(at: host.name))
        }
    }

    private static func identity(_ answer: HostAnswer) -> String {
        let machine = answer.sections["machine"]?.output.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
        return "\(answer.hostKeyFingerprint) \(machine)"
    }

    func observe(_ cluster: Cluster, _ resources: [DesiredResource], inventory: InventoryScope) async -> TargetObservation {
        do throws(APIFailure) {
            let connection = try connection(to: cluster)
            let found = await ClusterKinds.observe(resources, of: cluster.name, inventory: inventory) { (request) throws(APIFailure) in
                try await connection.send(request)
            }
            guard case .observed(var facts) = found.observation else {
                if case .read = inventory, let findings = found.inventory { inventories.note(findings, of: cluster) }
                return found.observation
            }
            if case .read(let id) = inventory, let findings = found.inventory {
                inventories.note(findings, of: cluster)
                if findings.unreadable == nil { facts.inventory = "\(id.namespace)/\(id.name)" }
            }
            facts.notes = connection.notes.map { "\(cluster.name): \($0)" } + facts.notes
            return .observed(facts)
        } catch {
            return .failed(error.problem(at: cluster.name))
        }
    }

    func connection(to cluster: Cluster) throws(APIFailure) -> ClusterConnection {
        if let connection = clusters.withLock({ $0[cluster.name] }) { return connection }
        let connection = try ClusterConnection(
            ClusterLogin(kubeconfig: kubeconfig, context: cluster.context ?? context, timeout: timeout)
        )
        return clusters.withLock { connections in
            if let other = connections[cluster.name] { return other }
            connections[cluster.name] = connection
            return connection
        }
    }

    /// What an apply needs of the world.
    var applyCollaborators: ApplyCollaborators {
        let confirmTimeout = confirmTimeout ?? .seconds(30)
        return ApplyCollaborators(
            execute: { target, action in await self.execute(action.steps, of: action.address, at: target) },
            executeRisky: { target, action, look in await self.executeRisky(action, at: target, timeout: confirmTimeout, look: look) },
            observe: { target, resources in await self.observe(target, resources) },
            observeAgain: { target, resources, actions in await self.observeAgain(target, resources, actions) },
            awaitReadiness: { target, address, limit, isInterrupted in await self.awaitReadiness(target, address, limit, isInterrupted) },
            prepare: { target, _ in await self.lock(target) },
            conclude: { target, outcomes in await self.unlock(target, outcomes) },
            willStart: { action in await self.lockObjection(to: action) }
        )
    }

    /// The same, with everything written down: in the journal before it starts, and in the inventories before and after.
    func collaborators(
        recording record: ApplyRecord,
        desired: DesiredState,
        brake: Brake,
        adjust: (inout ApplyCollaborators) -> Void = { _ in }
    ) -> ApplyCollaborators {
        var own = applyCollaborators
        adjust(&own)
        var collaborators = inventory.recording(own, in: record)
        let base = collaborators
        collaborators.prepare = { target, actions in
            if let problem = await base.prepare(target, actions) { return problem }
            return await self.recordHolding(target, actions, desired)
        }
        collaborators.conclude = { target, endings in
            await self.recordOutcome(target, endings, desired)
            await base.conclude(target, endings)
        }
        collaborators.willStart = { action in
            if let objection = brake.objection(to: action) { return objection }
            if let objection = await base.willStart(action) { return objection }
            return await record.willStart(action)
        }
        collaborators.didEnd = { await record.didEnd($0, $1) }
        return collaborators
    }

    /// Runs steps in order up to the first that fails.
    private func execute(_ steps: [Step], of address: ResourceAddress, at target: Target) async -> Problem? {
        for step in steps {
            if let problem = await execute(step, of: address, at: target) { return problem }
        }
        return nil
    }

    private func execute(_ step: Step, of address: ResourceAddress, at target: Target) async -> Problem? {
        func mistake(_ what: String) -> Problem {
            Problem(target: target.name, address: address, status: .invalid, message: "\(what); this is a mistake in Plumb, please report it")
        }
        switch (target, step.operation) {
        case (.host(let host), .run(let arguments, let input)):
            do throws(HostFailure) {
                let result = try await hosts.run(HostLogin(host), HostCommand(arguments: arguments, input: input))
                guard result.status != 0 else { return nil }
                let said = HostKinds.firstLine(of: result.errorOutput.isEmpty ? result.output : result.errorOutput)
                var message = "'\(step.summary)' ended with status \(result.status)\(said.isEmpty ? "" : ": \(said)")"
                guard HostKinds.isDenial(result.errorOutput) else {
                    return Problem(target: host.name, address: address, status: .unknown, message: message)
                }
                if host.become == .sudo {
                    let line = SudoRights.line(for: arguments, user: host.user ?? NSUserName())
                    message += "\nsudoers lacks the line\n\(line)\n'plumb sudoers \(host.name)' prints all of them"
                }
                return Problem(target: host.name, address: address, status: .denied, message: message)
            } catch {
                var problem = error.problem(at: host.name)
                problem.address = address
                return problem
            }
        case (.cluster(let cluster), .send(let request)):
            do throws(APIFailure) {
                let connection = try connection(to: cluster)
                return await ClusterKinds.carryOut(
                    request,
                    for: address,
                    send: { (request) throws(APIFailure) in try await connection.send(request) },
                    onSuccess: {
                        inventories.note(ClusterKinds.made($0), at: address)
                        onAnswer?($0, request, address)
                    }
                )
            } catch {
                var problem = error.problem(at: cluster.name)
                problem.address = address
                return problem
            }
        case (.host, .send): return mistake("a request can't be sent to a host")
        case (.cluster, .run): return mistake("a command can't be run at a cluster")
        }
    }

    private func awaitReadiness(
        _ target: Target,
        _ address: ResourceAddress,
        _ limit: Duration,
        _ isInterrupted: @Sendable () -> Bool
    ) async -> String? {
        guard case .cluster(let cluster) = target else { return nil }
        do throws(APIFailure) {
            let connection = try connection(to: cluster)
            return await ClusterKinds.awaitReadiness(of: address, within: limit, isInterrupted: isInterrupted) { (request) throws(APIFailure) in
                try await connection.send(request)
            }
        } catch {
            return error.message
        }
    }
}

extension HostLogin {
    init(_ host: ResourceModel.Host) {
        self.init(
            name: host.name,
            address: host.address,
            port: host.port,
            user: host.user,
            usesSudo: host.become == .sudo,
            hostKeys: host.hostKeys
        )
    }
}

extension HostFailure {
    func problem(at target: String) -> Problem {
        let status: ProblemStatus =
            switch cause {
            case .unreachable: .unreachable
            case .denied: .denied
            case .unknown: .unknown
            case .paused: .held
            }
        return Problem(target: target, status: status, message: message)
    }
}

extension APIFailure {
    func problem(at target: String) -> Problem {
        let status: ProblemStatus =
            switch cause {
            case .unreachable, .timedOut: .unreachable
            case .untrusted, .credentials: .denied
            case .unreadable: .unknown
            }
        return Problem(target: target, status: status, message: message)
    }
}
