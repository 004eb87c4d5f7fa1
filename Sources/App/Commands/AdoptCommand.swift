import ArgumentParser
import DriftDetection
import Foundation
import Git
import Observing
import Reconciling
import Reporting
import ResourceModel
import SpecLoading
import SpecSources
import Stores
import Values
import YAML

struct AdoptCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "adopt",
        abstract: "Write what is live into the spec files, where it differs from what they declare.",
        discussion: """
            The other way out of drift: the values that differ are replaced in the files, in their places; comments and layout stay, and nothing is
            changed on hosts or in clusters. What was written is printed as a patch; commit it as any change of yours.

            All of what is meant is adopted, or nothing: what can't be a value in a file (something that is missing, a list of another length, one
            value for several hosts that differ) is named with what to do, the rest is printed as a patch, and no file is changed.
            From a git URL nothing can be written; there is the patch alone, for 'git apply'.

            The last argument is the SOURCE if it is a git URL or there is such a file or folder; else it is an address, too, and the source is state.
            Quote a glob, so that the shell leaves it alone: plumb adopt 'pi-1/*'
            Exit status: 0 when all that was meant is in the files or the patch, or nothing differs; else 1.
            """
    )

    @Argument(help: ArgumentHelp("Addresses, targets' names, or globs ('*' also matches '/'); then the source.", valueName: "address-or-glob"))
    var arguments: [String]

    @Flag(name: .customLong("dry-run"), help: "Print the patch and write nothing.")
    var dryRun = false

    @OptionGroup var options: SharedOptions

    private var isSourceGiven: Bool {
        guard arguments.count > 1, let last = arguments.last else { return false }
        return GitLocation.isURL(last) || FileManager.default.fileExists(atPath: last)
    }

    private var source: String { isSourceGiven ? arguments.last ?? Source.defaultPath : Source.defaultPath }

    private var globs: [AddressGlob] { arguments.dropLast(isSourceGiven ? 1 : 0).map(AddressGlob.init) }

    func validate() throws {
        if arguments.contains("") { throw ValidationError("An address can't be empty; '*' means everything.") }
        if !options.targets.isEmpty { throw ValidationError("adopt takes addresses as arguments, and no --target.") }
        try options.git.check(source)
    }

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        let loaded = try await Source.load(
            source,
            options: options.sourceOptions,
            contextIsGiven: options.context != nil || Source.isInPod,
            terminal: terminal
        )
        try checkThatSomethingIsMeant(loaded.desired, terminal)
        let composition = Composition(options: options, source: loaded.identity) { terminal.writeError("\(Escaping.shown($0))\n") }
        do throws(StoreFailure) {
            try composition.inventory.load(from: options.dataDirectoryPath)
        } catch {
            terminal.writeError("note: \(Escaping.shown(error.message)); so hosts and clusters are not compared with those that were there before\n")
        }
        do {
            try await adopt(loaded, composition, terminal)
            await composition.close()
        } catch {
            await composition.close()
            throw error
        }
    }

    private func adopt(_ loaded: Source.Loaded, _ composition: Composition, _ terminal: Terminal) async throws {
        let desired = loaded.desired
        let names = desired.targets.map(\.name).filter { name in globs.contains { $0.couldMatch(target: name) } }
        var observed = await observe(Set(names), of: desired, composition, terminal)
        let drift = observedDrift(desired, observed: observed, kinds: Source.kinds)
        let wanted = drift.resources.filter { resource in
            resource.standing != .inSync && globs.contains { $0.includes(resource.address) }
        }
        var obstacles = drift.targetProblems.map {
            Adoption.Obstacle($0.address ?? ResourceAddress(target: $0.target, resource: ""), "\($0.status.rawValue): \($0.message)")
        }
        obstacles += globs.filter { glob in
            !drift.resources.contains { glob.includes($0.address) } && !drift.targetProblems.contains { glob.couldMatch(target: $0.target) }
        }
        .map { Adoption.Obstacle(ResourceAddress(target: $0.pattern, resource: ""), "Nothing that the specs declare has such an address.") }
        let files = loaded.files.map { SpecFile(path: $0.path, relativePath: $0.relativePath, bytes: $0.bytes) }
        let adoption = SpecLoading.adopt(wanted, in: files)
        obstacles += adoption.obstacles
        var followUps: [AdoptionCheck.Remark] = []
        if !adoption.files.isEmpty {
            let after = try reload(adoption.applied(to: files), terminal)
            // Others that the same values mean, wherever they are.
            let shared = Set(changedAddresses(from: desired, to: after).map(\.target)).subtracting(names)
            if !shared.isEmpty { observed.targets.merge(await observe(shared, of: desired, composition, terminal).targets) { first, _ in first } }
            let check = AdoptionCheck(
                wanted,
                adopted: Set(adoption.fields.map(\.address)),
                before: desired,
                after: after,
                observed: observed,
                kinds: Source.kinds
            )
            // What stood in no file by itself may have come along with what did.
            let left = Set(check.remaining.map { Adoption.Obstacle($0.address, path: $0.path, "") })
            obstacles.removeAll { $0.path != nil && !left.contains(Adoption.Obstacle($0.address, path: $0.path, "")) }
            let explained = Set(obstacles.map { Adoption.Obstacle($0.address, path: $0.path, "") })
            for remark in check.remaining {
                let obstacle = Adoption.Obstacle(remark.address, path: remark.path, remark.message)
                if !explained.contains(Adoption.Obstacle(remark.address, path: remark.path, "")) { obstacles.append(obstacle) }
            }
            obstacles += check.elsewhere.map {
                Adoption.Obstacle($0.address, "The same specs mean it, and with the new values it \($0.message). Give it specs of its own.")
            }
            followUps = check.followUps
        }
        try finish(adoption, obstacles: obstacles, followUps: followUps, wanted: wanted.count, terminal)
    }

    private func finish(
        _ adoption: Adoption,
        obstacles: [Adoption.Obstacle],
        followUps: [AdoptionCheck.Remark],
        wanted: Int,
        _ terminal: Terminal
    ) throws {
        let patch = adoption.files.filter { !$0.holdsSecret }.map { unifiedDiff($0.text, path: $0.path) }.joined()
        for file in adoption.files where file.holdsSecret {
            let values = adoption.fields.filter { $0.position.file == file.path }.map { "\($0.position) \($0.path): \($0.value)" }
            terminal.writeError("note: a Secret stands in \(Escaping.shown(file.path)), so its lines are not shown. What is adopted there:\n")
            for value in values { terminal.writeError("    \(Escaping.shortened(value, limit: 200))\n") }
        }
        guard obstacles.isEmpty else {
            terminal.write(patch)
            for obstacle in obstacles {
                let field = obstacle.path.map { " \($0)" } ?? ""
                let place = obstacle.address.resource.isEmpty ? obstacle.address.target : "\(obstacle.address)\(field)"
                terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(place)) can't be adopted\n")
                terminal.writeError("    \(Escaping.shortened(obstacle.message, limit: 600))\n")
            }
            terminal.writeError(
                patch.isEmpty
                    ? "Nothing was written.\n"
                    : "Nothing was written. The patch above is the rest: take it with 'patch -p1', or name only what can be adopted.\n"
            )
            throw ExitCode(1)
        }
        if wanted == 0 {
            terminal.writeError("Nothing to adopt: what is meant is as the specs declare it.\n")
            return
        }
        let values = adoption.fields.count == 1 ? "1 value" : "\(adoption.fields.count) values"
        let count = adoption.files.count == 1 ? "1 file" : "\(adoption.files.count) files"
        if dryRun || GitLocation.isURL(source) {
            terminal.write(patch)
            let reason = dryRun ? "" : " A repository is not written to: take the patch in a clone of it."
            terminal.writeError("Nothing was written: \(values) in \(count) would be adopted.\(reason)\n")
        } else {
            do throws(SourceProblem) {
                try rewriteSource(adoption.files.map { ($0.path, $0.text.before, $0.text.after) })
            } catch {
                terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(error.path)) \(Escaping.shown(error.message))\n")
                terminal.writeError("    \(Escaping.shown(error.fix))\n")
                throw ExitCode(1)
            }
            terminal.write(patch)
            terminal.writeError("Adopted: \(values) in \(count).\n")
        }
        for remark in followUps {
            terminal.writeError("note: \(Escaping.shown("\(remark.address) \(remark.message)")); the next apply ends that\n")
        }
    }

    /// The kinds themselves say whether the new values can be declared.
    private func reload(_ files: [SpecFile], _ terminal: Terminal) throws -> DesiredState {
        do throws(SpecMistakes) {
            return try loadSpecs(
                files,
                kinds: Source.kinds,
                options: LoadOptions(contentHash: "", contextIsGiven: options.context != nil || Source.isInPod)
            )
        } catch {
            terminal.writeError("\(terminal.errors.errorWord): what is live can't be declared so; nothing was written\n")
            for diagnostic in error.diagnostics { terminal.writeError("    \(Escaping.shown("\(diagnostic.position): \(diagnostic.message)"))\n") }
            throw ExitCode(1)
        }
    }

    private func observe(
        _ names: Set<String>,
        of desired: DesiredState,
        _ composition: Composition,
        _ terminal: Terminal
    ) async -> ObservedState {
        var part = desired
        part.targets.removeAll { !names.contains($0.name) }
        part.resources.removeAll { !names.contains($0.address.target) }
        var progress = ProgressLine(targets: part.resourcesByTarget().map { $0.0.name }, terminal: terminal)
        let observed = await Observing.observe(
            part,
            concurrency: options.concurrency,
            observer: { target, resources in await composition.observe(target, resources) },
            progress: { progress.answered($0.name, $1) }
        )
        progress.finish()
        return observed
    }

    /// A misspelt name should not look like "nothing differs".
    private func checkThatSomethingIsMeant(_ desired: DesiredState, _ terminal: Terminal) throws {
        let unmatched = Selection(globs).unmatched(in: desired)
        guard !unmatched.isEmpty else { return }
        let targets = desired.targets.map(\.name)
        for glob in unmatched {
            let nearest = Diagnostic.nearest(to: String(glob.pattern.prefix { $0 != "/" }), among: targets).map { "Did you mean '\($0)'? " } ?? ""
            terminal.writeError("\(terminal.errors.errorWord): '\(Escaping.shown(glob.pattern))' means no target of the specs\n")
            terminal.writeError("    \(nearest)There are: \(Escaping.shown(targets.joined(separator: ", "))).\n")
        }
        throw ExitCode(1)
    }
}
