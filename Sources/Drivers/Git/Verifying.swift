internal import CLibGit2
internal import Foundation
internal import Glibc

extension Repository {
    /// Checks that an allowed signer has signed the commit, or the tag that names it.
    ///
    /// - Parameter choice: What was asked for, as the repository has it.
    /// - Returns: who signed, for a person.
    /// - Throws: `refused`; nobody's word is taken for a signature that can't be checked.
    func verify(_ choice: Advertisement.Choice, commit: String, signers file: String, of url: GitURL) throws(Stop) -> String {
        let signers = try Self.signers(in: file)
        var reasons: [String] = []
        if choice.object != commit {
            let (kind, bytes) = try read(choice.object)
            let name = choice.reference.map { $0.hasPrefix("refs/tags/") ? String($0.dropFirst(10)) : $0 } ?? ""
            if kind == GIT_OBJECT_TAG, let tag = SignedObject(tag: bytes) {
                if tag.tagName != name {
                    reasons.append("the tag '\(name)' is the tag '\(tag.tagName ?? "")' under another name")
                } else {
                    switch Self.check(tag, signers) {
                    case .success(let principals): return "the tag '\(name)' is signed by \(principals)"
                    case .failure(let refusal): reasons.append("the tag '\(name)' \(refusal.reason)")
                    }
                }
            }
        }
        let short = commit.prefix(12)
        let (_, bytes) = try read(commit)
        if let object = SignedObject(commit: bytes) {
            switch Self.check(object, signers) {
            case .success(let principals): return "\(short) is signed by \(principals)"
            case .failure(let refusal): reasons.append("\(short) \(refusal.reason)")
            }
        } else {
            reasons.append("\(short) is not written as git writes commits")
        }
        throw Stop.failure(
            GitFailure(
                .refused,
                "\(url.shown): \(reasons.joined(separator: ", and "))",
                fix: "Only what a signer in \(file) has signed is taken: sign it (git commit -S) and push again, or allow its key there."
            )
        )
    }

    private static func check(_ object: SignedObject, _ signers: AllowedSigners) -> Result<String, SSHSignature.Refusal> {
        guard let armor = object.signature else { return .failure(SSHSignature.Refusal(reason: "is not signed")) }
        do throws(SSHSignature.Refusal) {
            let signature = try SSHSignature(armored: armor)
            try signature.check(object.payload, namespace: "git")
            guard let time = object.time else { throw SSHSignature.Refusal(reason: "does not say when it was made") }
            return signers.principals(of: signature.key, namespace: "git", at: Date(timeIntervalSince1970: TimeInterval(time)))
        } catch {
            return .failure(error)
        }
    }

    private static func signers(in file: String) throws(Stop) -> AllowedSigners {
        func refuse(_ reason: String, _ fix: String) -> Stop { .failure(GitFailure(.refused, "\(file) \(reason), so no signature counts", fix: fix)) }
        var info = stat()
        guard stat(file, &info) == 0, info.st_mode & S_IFMT == S_IFREG, info.st_size <= 1 << 20, let data = FileManager.default.contents(atPath: file)
        else {
            throw refuse("can't be read", "It has to be a file of at most 1 MiB in the format of ssh-keygen's ALLOWED SIGNERS.")
        }
        guard info.st_mode & S_IWOTH == 0 else { throw refuse("can be written by everybody", "chmod o-w \(file)") }
        do throws(AllowedSigners.Mistake) {
            return try AllowedSigners(String(decoding: data, as: UTF8.self))
        } catch {
            throw refuse("can't be followed: line \(error.line) \(error.reason)", "See ALLOWED SIGNERS in ssh-keygen(1).")
        }
    }
}
