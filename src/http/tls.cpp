// The part of Asio that calls OpenSSL, compiled once, as network/asio.cpp does with the rest.

#include <boost/asio/ssl/impl/src.hpp>
