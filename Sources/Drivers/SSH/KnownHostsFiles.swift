internal import Synchronization

/// The known_hosts files of a run, each list of them read once.
final class KnownHostsFiles: Sendable {
    private let read = Mutex<[[String]: Result<KnownHosts, SSHFailure>]>([:])

    /// A file that is not there holds nothing; one that can't be read is a failure, for it may hold a revocation.
    func read(_ files: [String]) throws(SSHFailure) -> KnownHosts {
        try read.withLock { cache in
            if let known = cache[files] { return known }
            let result: Result<KnownHosts, SSHFailure>
            do throws(SSHFailure) { result = .success(try Self.load(files)) } catch { result = .failure(error) }
            cache[files] = result
            return result
        }.get()
    }

    private static func load(_ files: [String]) throws(SSHFailure) -> KnownHosts {
        var known = KnownHosts()
        for file in files {
            do throws(LocalFiles.Problem) {
                known.read(try LocalFiles.read(file).bytes, file: file)
            } catch {
                switch error {
                case .missing: known.read([], file: file)
                case .failed(let reason): throw SSHFailure(.denied, "the known hosts in \(file) can't be read: \(reason)")
                }
            }
        }
        return known
    }
}
