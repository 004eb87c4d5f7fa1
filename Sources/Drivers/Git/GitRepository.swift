internal import Crypto
internal import Foundation
internal import SSH
internal import SpecSources
internal import Subprocess
internal import Synchronization

#if canImport(System)
internal import System
#else
internal import SystemPackage
#endif

/// Reads specs from repositories.
///
/// libgit2 can wait for a server for ever and takes what it is sent, so each read is a process of its own: this program, started again as
/// `plumb read-repository`, bounded in memory and time, and killed at the deadline.
package struct GitRepository: Sendable {
    private let options: GitOptions

    package init(options: GitOptions) { self.options = options }

    /// Reads the specs of a revision.
    ///
    /// - Parameters:
    ///   - known: A commit that the caller has read: where the revision is still that, only the references are asked for.
    ///   - expecting: A commit that was announced. While the revision neither is it nor has it in its history, the answer is `unchanged`.
    ///   - verify: Whose signature the commit, or the tag that names it, has to have; nil: none.
    ///   - last: The commit in force. What does not descend from it comes with a note, and with `verify` is refused.
    ///   - into: A commit that the revision is to be merged into: the specs are those of the merge, where there is one.
    /// - Throws: within `timeout`, whatever the server does.
    package func read(
        _ location: GitLocation,
        unless known: String? = nil,
        expecting: String? = nil,
        verify: GitVerification? = nil,
        last: String? = nil,
        into: String? = nil
    ) async throws(GitFailure) -> GitReading {
        let url = try GitURL(location.url)
        guard url.scheme.isProtected || verify != nil else {
            throw GitFailure(
                .refused,
                "\(url.shown): over \(url.scheme.rawValue):// anybody on the way could put other specs in place of these",
                fix: "Use https:// or ssh://, or ask for signatures (--verify-signers FILE; 'verify' in plumb.yaml)."
            )
        }
        let store = try CacheDirectory(for: url, in: options.cacheDirectory)
        defer { store.removeIfTemporary() }
        let (seconds, attoseconds) = options.timeout.components
        let request = ReadRequest(
            url: location.url,
            revision: location.revision,
            path: try location.folder,
            known: known,
            expecting: expecting,
            last: last,
            into: into,
            allowedSigners: verify?.allowedSigners,
            cache: store.path,
            tokenFile: options.tokenFile,
            authorityFile: options.authorityFile,
            ssh: options.ssh,
            limits: options.limits,
            mayAsk: options.mayAsk,
            timeout: Double(seconds) + Double(attoseconds) / 1e18
        )
        let result = await run(request, of: url)
        switch result {
        case .success(.read(var tree)):
            tree.notes = store.notes + tree.notes
            return .read(tree)
        case .success(let reading): return reading
        case .failure(let failure): throw failure
        }
    }

    private enum Ending: Sendable {
        case ended(TerminationStatus)
        case broken(String)
        case late
    }

    private func run(_ request: ReadRequest, of url: GitURL) async -> Result<GitReading, GitFailure> {
        guard let json = try? JSONEncoder().encode(request) else { return .failure(GitFailure(.invalid, "\(url.shown) can't be asked for")) }
        let message = Frame.encode(.answer, json)
        let reader = AnswerBox(limits: request.limits.specs)
        let (program, timeout, mayAsk) = (options.program, options.timeout, options.mayAsk)
        let ending = await withTaskGroup(of: Ending.self) { group in
            group.addTask { await Self.run(program, message, reader, isAlone: !mayAsk) }
            group.addTask {
                try? await Task.sleep(for: timeout)
                return .late
            }
            // What is still under way then is killed, and awaited.
            defer { group.cancelAll() }
            return await group.next() ?? .late
        }
        let doing = reader.progress.isEmpty ? "" : " (\(reader.progress))"
        if Task.isCancelled { return .failure(GitFailure(.timedOut, "reading \(url.shown) was broken off\(doing)")) }
        switch ending {
        case .late:
            return .failure(
                GitFailure(
                    .timedOut,
                    "\(url.shown) could not be read within \(options.timeout.inWords)\(doing)",
                    fix: "Is \(url.place) up, and is nothing in between that swallows packets? --git-timeout gives it longer."
                )
            )
        case .broken(let reason):
            return .failure(GitFailure(.unreachable, "\(url.shown) can't be read: \(reason)"))
        case .ended(let status):
            if let result = reader.result() { return result }
            let words =
                switch status {
                case .signaled(24): "used more time of the processor than it may"
                case .signaled(let signal): "was ended by signal \(signal), which too little memory can be the reason of"
                case .exited(let code): "ended with \(code) before it had answered"
                }
            return .failure(
                GitFailure(
                    .unreachable,
                    "\(url.shown) could not be read: the process that does it \(words)\(doing)",
                    fix: "If it happens again: is the repository as small as one of specs should be?"
                )
            )
        }
    }

    /// What has come so far; written by one task and read by another after it.
    private final class AnswerBox: Sendable {
        private let state: Mutex<AnswerReader>

        init(limits: SourceLimits) { state = Mutex(AnswerReader(limits: limits)) }

        var progress: String { state.withLock { $0.progress.quotable() } }

        func feed(_ bytes: [UInt8]) throws { try state.withLock { try $0.feed(bytes) } }

        func result() -> Result<GitReading, GitFailure>? { state.withLock { $0.result() } }
    }

    /// - Parameter isAlone: It is in a process group of its own, so that what it has started (a credential helper, `ssh -G`) ends with it. It can't ask
    ///   on the terminal then.
    private static func run(_ program: String, _ message: [UInt8], _ reader: AnswerBox, isAlone: Bool) async -> Ending {
        var platform = PlatformOptions()
        if isAlone {
            platform.processGroupID = 0
            platform.teardownSequence = [.send(signal: .kill, toProcessGroup: true, allowedDurationToNextStep: .zero)]
        }
        do {
            let result = try await Subprocess.run(
                .path(FilePath(program)),
                arguments: Arguments(executablePathOverride: "plumb", remainingValues: ["read-repository"]),
                platformOptions: platform,
                // Its stdin stays open until it is done: that it ends tells it that we are gone.
                input: .inputWriter,
                output: .sequence,
                error: .discarded
            ) { execution in
                _ = try? await execution.standardInputWriter.write(message)
                for try await part in execution.standardOutput { try reader.feed(part.withUnsafeBytes { Array($0) }) }
            }
            return .ended(result.terminationStatus)
        } catch let damage as AnswerReader.Damage {
            return .broken("the process that reads it can't be understood: \(damage.reason)")
        } catch {
            return .broken("a process for it can't be started: \(error)")
        }
    }
}
