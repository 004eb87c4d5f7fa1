import Applying
import Controller
import DriftDetection
import Foundation
import HostKinds
import Hosts
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
    private let caller = Caller.current(environment: ProcessInfo.processInfo.environment)
    private let log: Logger
    private let shared = Mutex(Shared())

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
        composition = Composition(
            options: options,
            source: SourceIdentity(of: configuration.source.url),
            confirmTimeout: configuration.limits.confirmTimeout,
            locks: TargetLocks(command: "plumb run", patience: .zero)
        ) { log.info("\($0)") }
        try await sayWhatWasInterrupted()
    }

    func close() async { await composition.close() }

    var collaborators: ControllerCollaborators {
        ControllerCollaborators(
            fetch: { known, expecting in await self.fetch(known, expecting) },
            observe: { target, resources in
                let observation = await self.composition.observe(target, resources)
                await self.noteSeen(target)
                return observation
            },
            observePart: { target, resources in await self.composition.observe(target, resources) },
            undoObstacle: { await self.composition.undoObstacle(at: $0) },
            follow: { target, resources, tell in await self.follow(target, resources, tell) },
            apply: { plan, desired, isInterrupted, report in await self.apply(plan, desired, isInterrupted, report) },
            held: { self.held() },
            kinds: Source.kinds
        )
    }

    // MARK: Source

    private func fetch(_ known: Revision?, _ expecting: String?) async -> Fetched {
        let (files, problems) = readSource(configuration.source.url)
        guard problems.isEmpty else {
            return .refused(commit: nil, problems.map { "\($0.path): error: \($0.message)\($0.fix.isEmpty ? "" : ". \($0.fix)")" })
        }
        if let known, known.desired.contentHash == contentDigest(of: files) { return .unchanged }
        return load(files, commit: nil, notes: [], known: known)
    }

    /// Reads and checks the files of a revision.
    func load(_ files: [SourceFile], commit: String?, notes: [String], known: Revision?) -> Fetched {
        let desired: DesiredState
        do throws(SpecMistakes) {
            desired = try Source.desired(files, contextIsGiven: options.context != nil || Source.isInPod)
        } catch {
            return .refused(commit: commit, error.diagnostics.map(\.description))
        }
        let objections = configuration.policy.objections(to: desired)
        guard objections.isEmpty else { return .refused(commit: commit, objections.map(\.description)) }
        return .loaded(Revision(commit: commit, desired: desired, notes: notes + desired.notes))
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
            holder: LockHolder(caller: caller, since: Date(), command: "plumb run"),
            command: "run",
            source: composition.inventories.source.words,
            say: { [log] in log.warning("\($0.trimmingCharacters(in: .whitespacesAndNewlines))") }
        )
    }

    /// nil: another apply has it.
    private func takeLock() throws(StoreFailure) -> ApplyLock? {
        let caller = caller
        let directory = directory
        return try shared.withLock { (shared) throws(StoreFailure) -> ApplyLock? in
            if let lock = shared.lock, lock.isHeld {
                shared.holders += 1
                return lock
            }
            switch try ApplyLock.take(in: directory, for: LockHolder(caller: caller, since: Date(), command: "plumb run")) {
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

    private func held() -> [HeldSetting] {
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
        let record: ApplyRecord
        do throws(StoreFailure) {
            guard let lock = try takeLock() else { return refuse("another apply is under way in \(directory.path)") }
            record = self.record(lock)
        } catch {
            return refuse(error.message)
        }
        defer { giveLock() }
        do throws(StoreFailure) { try await record.begin(plan) } catch { return refuse(error.message) }
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: Source.kinds,
            collaborators: composition.collaborators(recording: record, desired: desired),
            options: ApplyOptions(concurrency: 1, isInterrupted: isInterrupted),
            report: report
        )
        _ = await record.end(summary)
        shared.withLock { $0.inventoryIsStale = true }
        return summary
    }

    // MARK: Events

    private func follow(_ target: Target, _ resources: [DesiredResource], _ tell: @escaping @Sendable (TargetEvent) -> Void) async {
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    }
}
