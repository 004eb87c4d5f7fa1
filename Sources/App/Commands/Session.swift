import Applying
import ArgumentParser
import Foundation
import Git
import Planning
import Reconciling
import Reporting
import ResourceModel
import SpecSources
import Stores

/// One run of `plan` or `apply`: the specs, the connections, and the pass over both.
struct Session {
    private let pass: Pass
    private let dataDirectory: String?
    private let composition: Composition
    private let terminal: Terminal
    private let concurrency: Int

    /// Reads and checks the specs; nothing is contacted yet.
    ///
    /// - Parameters:
    ///   - revision: The commit that a plan was made of; nil: what the options say.
    ///   - confirmTimeout: How long a change that may cut the connection may take to be confirmed; nil: nothing is changed in this run.
    ///   - locks: How others are kept from changing the same targets.
    /// - Throws: exit status 1, after every mistake was printed.
    init(
        source: String,
        revision: String? = nil,
        selection: Selection,
        options: SharedOptions,
        confirmTimeout: Duration? = nil,
        locks: TargetLocks = TargetLocks(),
        terminal: Terminal
    ) async throws {
        let loaded = try await Source.load(
            source,
            revision: revision,
            options: options.sourceOptions,
            contextIsGiven: options.context != nil || Source.isInPod,
            terminal: terminal
        )
        let desired = loaded.desired
        let unmatched = selection.unmatched(in: desired)
        if !unmatched.isEmpty {
            let targets = desired.targets.map(\.name)
            for glob in unmatched {
                let name = String(glob.pattern.prefix { $0 != "/" })
                let nearest = Diagnostic.nearest(to: name, among: targets).map { "Did you mean '\($0)'? " } ?? ""
                terminal.writeError("\(terminal.errors.errorWord): --target '\(Escaping.shown(glob.pattern))' means no target of the specs\n")
                terminal.writeError("    \(nearest)There are: \(Escaping.shown(targets.joined(separator: ", "))).\n")
            }
            throw ExitCode(1)
        }
        var pass = Pass(
            desired: desired,
            kinds: Source.kinds,
            revision: loaded.revision,
            source: loaded.shown,
            selection: selection,
            concurrency: options.concurrency,
            maxDeletes: options.maxDeletes
        )
        composition = Composition(options: options, source: loaded.identity, confirmTimeout: confirmTimeout, locks: locks) {
            terminal.writeError("\(Escaping.shown($0))\n")
        }
        pass.repeatsOrphans = options.verbose
        self.pass = pass
        concurrency = options.concurrency
        dataDirectory = options.dataDirectoryPath
        self.terminal = terminal
    }

    /// The specs of a saved plan, where they are still the same.
    ///
    /// - Parameter source: Where they are here.
    /// - Throws: exit status 1, after the reason was printed. Nothing is contacted.
    init(
        of saved: SavedPlan,
        at source: String,
        options: SharedOptions,
        confirmTimeout: Duration,
        locks: TargetLocks,
        terminal: Terminal
    ) async throws {
        func refuse(_ message: String, _ fix: String) -> any Error {
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(message))\n    \(Escaping.shown(fix)) Nothing was contacted.\n")
            return ExitCode(1)
        }
        if !GitLocation.isURL(source), !FileManager.default.fileExists(atPath: source) {
            let place = source.hasPrefix("/") ? "" : " in \(FileManager.default.currentDirectoryPath)"
            throw refuse(
                "the plan is of the specs in '\(saved.source)', and there is no '\(source)'\(place)",
                "Say where they are here: --source FOLDER."
            )
        }
        // A repository moves on, and a plan does not.
        let commit = GitLocation.isURL(source) ? saved.revision : nil
        try await self.init(
            source: source,
            revision: commit,
            selection: Selection(saved.selection.map(AddressGlob.init)),
            options: options,
            confirmTimeout: confirmTimeout,
            locks: locks,
            terminal: terminal
        )
        // The file says where the specs are, so a person should see it.
        terminal.writeError(
            "plan \(Escaping.shown(saved.planID)) of the specs in \(Escaping.shown(Source.shown(source)))\(commit.map { " at \(Escaping.shown($0))" } ?? "")\n"
        )
        guard pass.desired.contentHash == saved.contentHash else {
            throw refuse(
                "the specs in '\(Source.shown(source))' are not those that the plan was made of",
                "A plan holds for exactly these files: bring them back, say with --source where they are, or plan again."
            )
        }
    }

    /// How many hosts the specs have, in the plan or not.
    var hostCount: Int { pass.desired.targets.count { if case .host = $0 { true } else { false } } }

    /// Asks all targets that are meant and plans, with a line of progress on stderr.
    func plan() async -> Plan {
        var pass = pass
        pass.held = recallHeld()
        var progress = ProgressLine(targets: pass.observedPart.resourcesByTarget().map { $0.0.name }, terminal: terminal)
        let plan = await pass.plan(
            observer: { target, resources in await composition.observe(target, resources) },
            undoObstacle: { await composition.undoObstacle(at: $0) },
            progress: { progress.answered($0.name, $1) }
        )
        progress.finish()
        return plan
    }

    /// A plan needs nothing that is kept; what can't be read is said, and nobody is compared with who was there before.
    private func recallHeld() -> [HeldSetting] {
        do throws(StoreFailure) {
            try composition.inventory.load(from: dataDirectory)
        } catch {
            terminal.writeError("note: \(Escaping.shown(error.message)); so hosts and clusters are not compared with those that were there before\n")
        }
        return composition.inventory.held
    }

    /// Writes down who was met and, where a person has seen them, which settings are no longer declared.
    ///
    /// - Throws: exit status 1, after the reason was printed.
    func remember(_ plan: Plan, isShown: Bool, in record: ApplyRecord) async throws {
        do throws(StoreFailure) {
            try await composition.inventory.noteSeen(in: record.journal, at: Date())
            try await composition.inventory.noteSettled(in: plan, in: record.journal)
            if isShown { try await composition.inventory.noteReported(in: plan, desired: pass.desired, kinds: pass.kinds, in: record.journal) }
        } catch {
            throw terminal.failed(error, "nothing was changed")
        }
    }

    func apply(
        _ plan: Plan,
        record: ApplyRecord,
        budget: ApplyBudget,
        counted: ApplySummary,
        wait: Duration?,
        isInterrupted: @escaping @Sendable () -> Bool,
        report: @escaping @Sendable (ApplyEvent) -> Void
    ) async -> ApplySummary {
        let collaborators = composition.collaborators(recording: record, desired: pass.desired)
        composition.locks.giveUp(when: isInterrupted)
        composition.inventories.patience = wait ?? .seconds(30)
        let summary = await Applying.apply(
            plan,
            desired: pass.desired,
            kinds: pass.kinds,
            collaborators: collaborators,
            options: ApplyOptions(concurrency: concurrency, budget: budget, counted: counted, wait: wait, isInterrupted: isInterrupted),
            report: report
        )
        await settleInventories()
        return summary
    }

    /// Writes down what was found out about the clusters that nothing was changed in: an annotation that says `keep` is no change of the object.
    func settleInventories() async {
        for case .cluster(let cluster) in pass.observedPart.targets { await composition.settleInventory(of: cluster) }
    }

    func close() async { await composition.close() }
}
