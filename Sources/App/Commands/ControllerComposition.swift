import Applying
import Controller
import DriftDetection
import Foundation
import Git
import HostKinds
import Hosts
import Kubernetes
import KubernetesAPI
import Logging
import Planning
import Reconciling
import Reporting
import ResourceModel
import SpecLoading
import SpecSources
import Stores
import Synchronization

/// Where the controller meets the drivers.
final class ControllerComposition: Sendable {
    let composition: Composition
    let configuration: Configuration
    let options: SharedOptions
    let journal: Journal
    private let directory: DataDirectory
    private let holder = LockHolder(caller: .current(environment: ProcessInfo.processInfo.environment), since: Date(), command: "plumb run")
    private let log: Logger
    private let shared = Mutex(Shared())
    private let clusters: Clusters
    let brake: Brake
    /// nil: there is one replica, and what outlives it is on its disk.
    let replicas: ReplicaMemory?
    let electionConnection: ClusterConnection?

    private struct Shared {
        /// The lock of the data directory, and how many passes need it.
        var lock: ApplyLock?
        var holders = 0
        /// Whom the journal knows to have been met.
        var noted: [String: String] = [:]
        var inventoryIsStale = true
    }

    /// - Throws: what keeps the controller from writing down what it does.
    init(_ configuration: Configuration, options: SharedOptions, log: Logger) async throws(StoreFailure) {
        self.configuration = configuration
        self.options = options
        self.log = log
        directory = try DataDirectory(creating: try options.dataDirectory.requiredPath())
        // A repair takes milliseconds; waiting for the disk before and after each would double that.
        journal = try Journal.open(in: directory, durability: .process)
        var brake = Brake(dataDirectory: directory.path, journal: journal)
        if let settings = configuration.leaderElection {
            let connection: ClusterConnection
            do throws(APIFailure) {
                let context = settings.context ?? options.context
                connection = try ClusterConnection(ClusterLogin(kubeconfig: options.kubeconfig, context: context, timeout: .seconds(5)))
            } catch {
                throw StoreFailure(
                    "'leaderElection' needs an API server: \(error.message)",
                    fix: "Correct it, or take it out where there is one replica."
                )
            }
            let state = ClusterState(namespace: settings.namespace, name: settings.name) { (request) throws(APIFailure) in
                try await connection.send(request)
            }
            let replicas = ReplicaMemory(state, log: log)
            brake.together = { replicas.effective($0) }
            self.replicas = replicas
            electionConnection = connection
        } else {
            replicas = nil
            electionConnection = nil
        }
        self.brake = brake
        let clusters = Clusters()
        self.clusters = clusters
        composition = Composition(
            options: options,
            source: try Self.identity(of: configuration.source),
            confirmTimeout: configuration.limits.confirmTimeout,
            locks: TargetLocks(command: "plumb run", patience: .zero),
            tell: { log.info("\($0)") },
            onAnswer: { answer, request, address in clusters.take(answer, to: request, of: address) }
        )
        // Before anybody is met: who was there before.
        try composition.inventory.load(from: directory.path)
        try await sayWhatWasInterrupted()
    }

    func close() async {
        await composition.close()
        await electionConnection?.close()
    }

    var dataPath: String { directory.path }

    /// - Parameter hear: Told what happens; must not block.
    func collaborators(hear: @escaping @Sendable (ControllerNews) -> Void = { _ in }) -> ControllerCollaborators {
        ControllerCollaborators(
            fetch: { known, expecting in await self.fetch(known, expecting) },
            observe: { target, resources in
                let observation = await self.composition.observe(target, resources)
                await self.noteSeen(target)
                if case .cluster(let cluster) = target {
                    // Of one that gives no answer, or is another one now, nothing that was learnt is used.
                    if case .failed = observation { self.clusters[cluster].forget() }
                    self.clusters[cluster].learn(observation, of: resources)
                }
                return observation
            },
            observePart: { target, resources in
                switch target {
                case .host(let host): return .observed(await self.composition.observePart(of: host, kinds: Set(resources.map(\.handler))))
                case .cluster(let cluster): return self.clusters[cluster].look(resources)
                }
            },
            pauses: {
                do throws(StoreFailure) { return .success(try self.brake.pauses()) } catch { return .failure(PausesUnknown(error.message)) }
            },
            forget: { target in if case .cluster(let cluster) = target { self.clusters[cluster].forget() } },
            remember: { await self.remember($0) },
            undoObstacle: { await self.composition.undoObstacle(at: $0) },
            follow: { target, resources, tell in await self.follow(target, resources, tell) },
            apply: { plan, desired, isInterrupted, report in await self.apply(plan, desired, isInterrupted, report) },
            held: { self.held() },
            hear: hear,
            kinds: Source.kinds
        )
    }

    // MARK: Source

    private static func identity(of source: Configuration.Source) throws(StoreFailure) -> SourceIdentity {
        guard GitLocation.isURL(source.url) else { return SourceIdentity(of: source.url) }
        do throws(GitFailure) {
            let location = try GitLocation(source: source.url, path: source.path)
            return SourceIdentity(ofRemote: GitLocation.shown(location.url), path: try location.folder)
        } catch {
            throw StoreFailure(error.message, fix: error.fix)
        }
    }

    private func fetch(_ known: Revision?, _ expecting: String?) async -> Fetched {
        guard GitLocation.isURL(configuration.source.url) else {
            let (files, problems) = readSource(configuration.source.url)
            let hadSpecs = known.map { !$0.desired.resources.isEmpty } ?? recall().hadSpecs
            // A folder that is gone may be a disk that is not mounted; that is never meant.
            guard problems.isEmpty || mayBeEmpty(problems, [.specs], hadSpecs: hadSpecs) else { return .refused(commit: nil, problems.map(\.line)) }
            if let known, known.desired.contentHash == contentDigest(of: files) { return .unchanged }
            return load(files, commit: nil, notes: [], hadSpecs: hadSpecs)
        }
        // What is in force goes on being in force where the newest revision is refused, after a restart as well.
        let before = known == nil ? recall() : ControllerMemory()
        let newest = await read(configuration.source.revision, known: known?.commit, expecting: expecting, last: known?.commit ?? before.commit) {
            known.map { !$0.desired.resources.isEmpty } ?? before.hadSpecs
        }
        guard known == nil, let last = before.commit else { return newest }
        let why: String
        switch newest {
        case .refused(let commit, _):
            if commit == last { return newest }
            why = "\(commit?.prefix(12) ?? "the newest revision") is refused"
        case .failed: why = "the source gives no answer"
        case .unchanged, .loaded, .loadedInstead: return newest
        }
        guard case .loaded(var good) = await read(last, known: nil, expecting: nil, last: nil, hadSpecs: { before.hadSpecs }) else { return newest }
        // Where nothing is said of it, which branch that is can't be asked now.
        if configuration.source.revision == nil, good.ref == nil { good.ref = before.ref }
        good.notes.append("\(why), and \(last.prefix(12)) goes on being in force")
        return .loadedInstead(good, because: newest)
    }

    private func read(
        _ revision: String?,
        known: String?,
        expecting: String?,
        last: String?,
        hadSpecs: () -> Bool
    ) async -> Fetched {
        let source = configuration.source
        let hadSpecs = hadSpecs()
        do throws(GitFailure) {
            let location = try GitLocation(source: source.url, revision: revision, path: source.path)
            let verify = source.allowedSigners.map { GitVerification(allowedSigners: $0) }
            let reading = try await repository.read(location, unless: known, expecting: expecting, verify: verify, last: last)
            guard case .read(let tree) = reading else { return .unchanged }
            guard tree.problems.isEmpty || mayBeEmpty(tree.problems, [.specs, .source], hadSpecs: hadSpecs) else {
                return .refused(commit: tree.commit, tree.problems.map(\.line))
            }
            return load(tree.files, commit: tree.commit, ref: tree.ref, notes: tree.notes, hadSpecs: hadSpecs)
        } catch {
            let line = error.fix.isEmpty ? error.message : "\(error.message). \(error.fix)"
            // A repository or a branch that is not there may be back any moment, like one that gives no answer.
            return error.cause == .refused ? .refused(commit: nil, [line]) : .failed(line)
        }
    }

    private var repository: GitRepository { GitRepository(options: gitOptions()) }

    /// - Parameter cache: The folder for what is fetched, in the data directory.
    func gitOptions(cache: String = "git") -> GitOptions {
        var git = GitOptions()
        git.cacheDirectory = "\(directory.path)/\(cache)"
        git.timeout = configuration.source.timeout
        git.tokenFile = configuration.source.tokenFile
        git.authorityFile = configuration.source.authorityFile
        git.ssh.identityFile = configuration.ssh.identity
        git.ssh.knownHostsFile = configuration.ssh.knownHosts
        git.ssh.configFile = configuration.ssh.configuration
        git.ssh.cacheDirectory = "\(directory.path)/ssh-config"
        return git
    }

    /// Whether the only thing wrong is that there is nothing, and the configuration or what was there before has a say in that: see `load`.
    private func mayBeEmpty(_ problems: [SourceProblem], _ absences: Set<SourceProblem.Absence>, hadSpecs: Bool) -> Bool {
        (hadSpecs || configuration.source.allowsEmpty) && problems.allSatisfy { $0.absence.map(absences.contains) ?? false }
    }

    /// Reads and checks the files of a revision.
    ///
    /// - Parameter hadSpecs: Whether the revision before it had specs; false where there was none.
    private func load(_ files: [SourceFile], commit: String?, ref: String? = nil, notes: [String], hadSpecs: Bool) -> Fetched {
        let desired: DesiredState
        do throws(SpecMistakes) {
            desired = try Source.desired(files, contextIsGiven: options.context != nil || Source.isInPod)
        } catch {
            return .refused(commit: commit, error.diagnostics.map(\.line))
        }
        if desired.resources.isEmpty, hadSpecs, !configuration.source.allowsEmpty {
            let place = configuration.source.path.map { " in '\($0)'" } ?? ""
            let line =
                "there are no specs\(place), and there were before: nothing is given up because of that. If it is meant, 'source.allowEmpty: true' says so"
            return .refused(commit: commit, [line])
        }
        let objections = configuration.policy.objections(to: desired)
        guard objections.isEmpty else { return .refused(commit: commit, objections.map(\.line)) }
        var revision = Revision(commit: commit, ref: ref, desired: desired, notes: notes + desired.notes)
        revision.amount = SpecAmount(files)
        return .loaded(revision)
    }

    // MARK: Journal

    /// Says what a controller that died left under way.
    private func sayWhatWasInterrupted() async throws(StoreFailure) {
        guard let lock = try takeLock() else { return }
        defer { giveLock() }
        try await record(lock).closeInterruptedRuns()
    }

    private func record(_ lock: ApplyLock) -> ApplyRecord {
        ApplyRecord(
            journal: journal,
            lock: lock,
            holder: holder,
            command: "run",
            source: composition.inventories.source.words,
            say: { [log] in log.warning("\($0.trimmingCharacters(in: .whitespacesAndNewlines))") }
        )
    }

    /// nil: another apply has it.
    private func takeLock() throws(StoreFailure) -> ApplyLock? {
        let directory = directory
        let holder = holder
        return try shared.withLock { (shared) throws(StoreFailure) -> ApplyLock? in
            if let lock = shared.lock, lock.isHeld {
                shared.holders += 1
                return lock
            }
            switch try ApplyLock.take(in: directory, for: holder) {
            case .held: return nil
            case .taken(let lock):
                shared.lock = lock
                shared.holders += 1
                return lock
            }
        }
    }

    private func giveLock() {
        shared.withLock { shared in
            shared.holders -= 1
            guard shared.holders == 0 else { return }
            shared.lock?.release()
            shared.lock = nil
        }
    }

    func held() -> [HeldSetting] {
        let isStale = shared.withLock { shared in
            defer { shared.inventoryIsStale = false }
            return shared.inventoryIsStale
        }
        if isStale {
            do throws(StoreFailure) { try composition.inventory.load(from: directory.path) } catch {
                log.warning("hosts are not compared with those that were there before: \(error.message)")
            }
        }
        return composition.inventory.held
    }

    private func noteSeen(_ target: Target) async {
        guard let identity = composition.inventory.identity(of: target.name) else { return }
        let isNew = shared.withLock { shared in
            if shared.noted[target.name] == identity { return false }
            shared.noted[target.name] = identity
            shared.inventoryIsStale = true
            return true
        }
        guard isNew else { return }
        do throws(StoreFailure) { try await composition.inventory.noteSeen(in: journal, at: Date()) } catch {
            log.warning("it could not be written down who was met: \(error.message)")
        }
    }

    // MARK: Changes

    private func apply(
        _ plan: Plan,
        _ desired: DesiredState,
        _ isInterrupted: @escaping @Sendable () -> Bool,
        _ report: @escaping @Sendable (ApplyEvent) -> Void
    ) async -> ApplySummary {
        func refuse(_ message: String) -> ApplySummary {
            var summary = ApplySummary()
            for action in plan.actions {
                report(.skipped(action.address, message))
                summary.skipped += 1
            }
            return summary
        }
        // A host's settings are written down before its first change, with the run they belong to.
        let isOfCluster = if case .cluster? = desired.targets.first { true } else { false }
        let record: ApplyRecord
        do throws(StoreFailure) {
            guard let lock = try takeLock() else { return refuse("another apply is under way in \(directory.path)") }
            record = self.record(lock)
        } catch {
            return refuse(error.message)
        }
        defer { giveLock() }
        do throws(StoreFailure) { try await record.begin(plan, withFirst: isOfCluster) } catch { return refuse(error.message) }
        let collaborators = composition.collaborators(recording: record, desired: desired, brake: brake) { self.shorten(&$0, desired) }
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: Source.kinds,
            collaborators: collaborators,
            options: ApplyOptions(concurrency: 1, isInterrupted: isInterrupted),
            report: report
        )
        _ = await record.end(summary)
        shared.withLock { $0.inventoryIsStale = true }
        return summary
    }

    // MARK: Events

    private func follow(_ target: Target, _ resources: [DesiredResource], _ tell: @escaping @Sendable (TargetEvent) -> Void) async {
        switch target {
        case .host(let host): await composition.follow(host, resources, tell)
        case .cluster(let cluster):
            do throws(APIFailure) {
                await clusters[cluster].follow(try composition.connection(to: cluster), resources, tell)
            } catch {
                tell(.lost(error.message))
            }
        }
    }

    /// Takes out of a change of objects what the watches make needless: a Lease that nobody holds is not taken, and the server's answer to a change is
    /// what is there now.
    ///
    /// Who applies by hand takes the Lease; what little can happen between looking at it and writing is what two `kubectl apply` do to each other.
    private func shorten(_ collaborators: inout ApplyCollaborators, _ desired: DesiredState) {
        guard case .cluster(let cluster)? = desired.targets.first else { return }
        let following = clusters[cluster]
        following.begin(desired.resources)
        let base = collaborators
        let caller = holder.caller
        let own = "\(caller.user)@\(caller.host)/\(caller.process.pid)/"
        collaborators.prepare = { target, actions in
            // What is made or deleted takes more than one request.
            guard actions.allSatisfy({ $0.operation == .update && !$0.isUndeclared }) else { return await base.prepare(target, actions) }
            switch following.otherHolder(than: own) {
            case .free: return nil
            // It says who has it.
            case .held, .unknown: return await base.prepare(target, actions)
            }
        }
        collaborators.observeAgain = { target, resources, actions in
            if let answered = following.answers(for: resources) { return answered }
            if let observeAgain = base.observeAgain { return await observeAgain(target, resources, actions) }
            return await base.observe(target, resources)
        }
    }

    /// What is known of the clusters, by their names.
    private final class Clusters: Sendable {
        private let all = Mutex<[String: ClusterFollowing]>([:])

        subscript(cluster: Cluster) -> ClusterFollowing {
            all.withLock { all in
                if let known = all[cluster.name], known.cluster == cluster { return known }
                let new = ClusterFollowing(cluster)
                all[cluster.name] = new
                return new
            }
        }

        func take(_ answer: APIResponse, to request: Step.Request, of address: ResourceAddress) {
            all.withLock { $0[address.target] }?.take(answer, to: request, of: address)
        }
    }

    // MARK: What outlives the process

    private var memoryPath: String { "\(directory.path)/controller.json" }

    func recall() -> ControllerMemory {
        guard let data = FileManager.default.contents(atPath: memoryPath) else { return ControllerMemory() }
        do { return try JSONDecoder().decode(ControllerMemory.self, from: data) } catch {
            log.warning("what an earlier controller has left in \(memoryPath) can't be read, and is begun anew")
            return ControllerMemory()
        }
    }

    private func remember(_ memory: ControllerMemory) async {
        if let replicas { await replicas.remember(memory) }
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys]
            try encoder.encode(memory).write(to: URL(fileURLWithPath: memoryPath), options: .atomic)
        } catch {
            log.warning("what should outlive this process can't be written to \(memoryPath): \(error)")
        }
    }
}

extension Diagnostic {
    /// For logs, in one line.
    fileprivate var line: String { "\(position): error: \(message)\(fix.isEmpty ? "" : ". \(fix)")" }
}

extension SourceProblem {
    /// As a diagnostic without a line.
    fileprivate var line: String { "\(path.isEmpty ? "" : "\(path): ")error: \(message)\(fix.isEmpty ? "" : ". \(fix)")" }
}
